"""Checks that the functions of SkyRL that the adapter overrides or calls are as it expects."""

from __future__ import annotations

from collections.abc import Iterator

from hgpo.adapters.hooks import Finding, Hook, check_hooks

TRAINER = "skyrl.train.trainer:RayPPOTrainer"
EXPERIMENT = "skyrl.train.entrypoints.main_base:BasePPOExp"
HOOKS = (
    Hook(f"{TRAINER}.convert_to_training_input", ("self", "generator_output", "uids"), "rows"),
    Hook(f"{TRAINER}.compute_advantages_and_returns", ("self", "data"), "advantages"),
    Hook("skyrl.train.generators.base:GeneratorInterface.generate", ("self", "input_batch"), "the generator"),
    Hook(
        "skyrl.backends.skyrl_train.inference_servers.base:InferenceEngineInterface.generate",
        ("self", "input_batch", "model"),
        "answers",
    ),
    Hook(f"{EXPERIMENT}.get_train_dataset", ("self",), "training tasks"),
    Hook(f"{EXPERIMENT}.get_eval_dataset", ("self",), "held-out tasks"),
    Hook(
        f"{EXPERIMENT}.get_generator",
        ("self", "cfg", "tokenizer", "inference_engine_client"),
        "the generator",
    ),
    Hook(
        f"{EXPERIMENT}.get_trainer",
        (
            *("self", "cfg", "tracker", "tokenizer", "train_dataset", "eval_dataset"),
            *("inference_engine_client", "generator", "colocate_pg"),
        ),
        "the trainer",
    ),
    Hook("skyrl.train.config.config:SkyRLTrainConfig.from_cli_overrides", ("args",), "the configuration"),
)
"""The functions of SkyRL that the adapter depends on, with their parameters in the supported versions."""


def check() -> Iterator[Finding]:
    """Run all checks one after the other; see `check_hooks`."""
    return check_hooks(HOOKS, "skyrl")
