"""Changes any configuration so that it runs in minutes on a CPU: a tiny model and a few short episodes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hgpo.adapters.verl.cluster import VARIABLE
from hgpo.adapters.verl.configuration import stepwise_settings
from hgpo.adapters.verl.cpu import ROLLOUT
from hgpo.envs import TaskSuite
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy
from hgpo.rollouts.prompts import RESPONSE_FORMATS, Turn

MODULES = "VERL_USE_EXTERNAL_MODULES"
"""The environment variable that lists modules that verl imports before anything else."""
ENVIRONMENT = {
    "VERL_PLATFORM": "cpu",
    # verl offers its FSDP engine only for GPUs, so the dry run claims to have GPUs.
    "VERL_ENGINE_DEVICE": "cuda",
    "OMP_NUM_THREADS": "1",
}
"""Environment variables that every process of a dry run needs, before it imports verl; see `prepare`."""
RESPONSE = "number"
"""The response format: with answers of one token, an untrained model gives a valid one now and then."""
MAX_COMMANDS = 100
"""The highest command number for which the model has a token."""

FLOAT32 = "{param_dtype: fp32, reduce_dtype: fp32, buffer_dtype: fp32}"
"""With float32, trainer and server agree on a response's log-probabilities to six digits."""


def prepare() -> None:
    """Set the environment variables of a dry run, for this process and all processes that it starts.

    RAY_ADDRESS is unset, because a dry run starts its own Ray on this machine.
    """
    os.environ.pop(VARIABLE, None)
    modules = ["hgpo.adapters.verl.cpu.plugin", *filter(None, [os.environ.get(MODULES)])]
    os.environ.update({**ENVIRONMENT, MODULES: ",".join(modules)})


def save_model(config: Any, folder: Path) -> None:
    """Write a tiny model with a vocabulary of the environment's words, for verl to start from.

    Args:
        config: the run's configuration.
        folder: the folder to write, in transformers' format.
    """
    settings = stepwise_settings(config)
    prompt = RESPONSE_FORMATS[settings.response].prompt(Turn("", (("", ""),), "", (), 1))
    policy = create_policy(
        [prompt, *settings.suite().texts()],
        TinyModel(),
        max_tokens=config.data.max_prompt_length + config.data.max_response_length,
        max_commands=MAX_COMMANDS,
        seed=settings.seed,
    )
    policy.save(folder)


def overrides_for(folder: Path, suite: Callable[..., TaskSuite], *, ranks: int = 1) -> list[str]:
    """The changes to a configuration, as Hydra overrides.

    Args:
        folder: the run's folder, which contains the tiny model.
        suite: the class of the environment; its episodes are shortened if it has a setting for that.
        ranks: the number of training processes.
    """
    settings: Any = dataclasses.fields(suite)  # pyright: ignore[reportArgumentType]
    short = {"++hgpo.env.max_steps": 4} if "max_steps" in {each.name for each in settings} else {}
    values: dict[str, Any] = {
        **short,
        "hgpo.response": RESPONSE,
        "hgpo.environment_processes": 2,
        "data.train_batch_size": 2,
        "data.val_max_samples": 2,
        "data.max_response_length": 1,
        "actor_rollout_ref.model.path": folder / "model",
        "actor_rollout_ref.model.use_remove_padding": False,
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        "actor_rollout_ref.actor.ppo_mini_batch_size": 2,
        "actor_rollout_ref.actor.use_torch_compile": False,
        "actor_rollout_ref.actor.optim.lr": 1e-3,
        "+actor_rollout_ref.actor.fsdp_config.mixed_precision": FLOAT32,
        "+actor_rollout_ref.ref.fsdp_config.mixed_precision": FLOAT32,
        "actor_rollout_ref.ref.fsdp_config.param_offload": False,
        "actor_rollout_ref.rollout.name": ROLLOUT,
        "actor_rollout_ref.rollout.dtype": "float32",
        "actor_rollout_ref.rollout.n": 4,
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
        "actor_rollout_ref.rollout.free_cache_engine": False,
        "actor_rollout_ref.rollout.agent.num_workers": 1,
        # For rollouts with their own resources; verl imports the module in the processes that need it.
        "actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module": f"{__package__}.transfer",
        "critic.model.use_remove_padding": False,
        "critic.model.enable_gradient_checkpointing": False,
        "+critic.model.override_config.attn_implementation": "sdpa",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        "trainer.default_local_dir": folder / "checkpoints",
        "trainer.device": "cpu",
        "trainer.logger": "[console]",
        "trainer.n_gpus_per_node": ranks,
        "trainer.nnodes": 1,
        "trainer.total_training_steps": 3,
        # Do not join a Ray that `ray start` may have left on this machine.
        "+ray_kwargs.ray_init.address": "local",
        # verl reserves the CPUs and GPUs of the real run; a dry run claims to have them.
        "ray_kwargs.ray_init.num_cpus": 16 * ranks,
        "+ray_kwargs.ray_init.num_gpus": ranks,
        "+ray_kwargs.ray_init.include_dashboard": False,
    }
    return [f"{name}={value}" for name, value in values.items()]
