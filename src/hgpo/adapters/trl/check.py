"""Checks that the functions of TRL that the adapter calls or overrides are as it expects."""

from __future__ import annotations

from collections.abc import Iterator

from hgpo.adapters.hooks import Finding, Hook, check_hooks

GRPO = "trl.trainer.grpo_trainer:GRPOTrainer"
HOOKS = (
    Hook(f"{GRPO}._generate_and_score_completions", ("self", "inputs"), "rows and advantages"),
    Hook(
        f"{GRPO}._generate_single_turn",
        ("self", "prompt_ids", "images", "multimodal_fields"),
        "answers, and the turns of TokenAdvantages",
        optional=("num_generations", "has_tool_images"),
    ),
    Hook(f"{GRPO}._compute_loss", ("self", "model", "inputs"), "losses that average over rows"),
    Hook(
        f"{GRPO}._calculate_rewards",
        ("self", "inputs", "prompts", "completions", "completion_ids_list"),
        "the rewards of TokenAdvantages",
    ),
    Hook(
        f"{GRPO}.evaluate",
        ("self", "eval_dataset", "ignore_keys", "metric_key_prefix"),
        "evaluation on held-out splits",
    ),
)
"""The functions of TRL that the adapter depends on, with their parameters in the supported versions."""


def check() -> Iterator[Finding]:
    """Run all checks one after the other; see `check_hooks`."""
    return check_hooks(HOOKS, "trl")
