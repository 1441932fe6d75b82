"""Checks that the plugin is loaded in every process, and that verl's hooks are as the plugin expects."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from hgpo.adapters.verl.cluster import named_address, why_not_joined
from hgpo.adapters.verl.versions import SUPPORTED, verl_version

ENTRY_POINT = "hgpo"
"""The plugin's name in the entry-point group "verl.plugins"."""


@dataclass(frozen=True)
class Hook:
    """A function or method of verl that the plugin calls or overrides."""

    path: str
    """MODULE:NAME, or MODULE:CLASS.NAME."""
    parameters: tuple[str, ...]
    """Its parameters in order, including "self"."""
    use: str
    """The part of the plugin that needs it."""


V1 = "verl.trainer.ppo.v1"
BASE = f"{V1}.trainer_base:PPOTrainer"
LOOP = "verl.experimental.agent_loop.agent_loop"
HOOKS = (
    Hook(f"{BASE}.__init__", ("self", "config"), "the trainers"),
    Hook(f"{BASE}._compute_advantage", ("self", "batch", "metrics"), "advantages"),
    Hook(f"{BASE}._get_required_batch_multiple", ("self", "dp_size"), "tasks per update"),
    Hook(f"{BASE}._update_actor", ("self", "batch", "metrics"), "tasks per update"),
    Hook(f"{BASE}._update_critic", ("self", "batch", "metrics"), "tasks per update"),
    Hook(f"{V1}.trainer_base:register_trainer", ("name",), "the trainers"),
    Hook(f"{V1}.trainer_sync:PPOTrainerSync.__init__", ("self", "config"), "hgpo_sync"),
    Hook(
        f"{V1}.trainer_colocate_async:PPOTrainerColocateAsync.__init__",
        ("self", "config"),
        "hgpo_colocate_async",
    ),
    Hook(
        f"{V1}.trainer_separate_async:PPOTrainerSeparateAsync.__init__",
        ("self", "config"),
        "hgpo_separate_async",
    ),
    Hook(
        f"{V1}.utils:compute_advantage_for_multi_trajectories",
        (
            *("data", "batch_keys", "adv_estimator", "gamma", "lam", "num_repeat", "norm_adv_by_std_in_grpo"),
            "config",
        ),
        "the way to the estimators",
    ),
    Hook("verl.trainer.ppo.core_algos:register_adv_est", ("name_or_enum",), "the estimators"),
    Hook(
        "verl.trainer.ppo.ray_trainer:compute_advantage",
        ("data", "adv_estimator", "gamma", "lam", "num_repeat", "norm_adv_by_std_in_grpo", "config"),
        "the way to the estimators",
    ),
    Hook(f"{LOOP}:register", ("agent_name",), "the agent loop"),
    Hook(f"{LOOP}:AgentLoopBase.run", ("self", "sampling_params", "kwargs"), "the agent loop"),
    Hook(
        f"{LOOP}:AgentLoopBase.__init__",
        (
            *("self", "trainer_config", "server_manager", "tokenizer", "processor", "dataset_cls"),
            *("data_config", "hf_model_type", "kwargs"),
        ),
        "the agent loop",
    ),
    Hook(f"{LOOP}:AgentLoopOutput.as_dict", ("self",), "a row's fields"),
    Hook(
        f"{V1}.agent_loop_tq:AgentLoopWorkerTQ.__ray_metadata__.modified_class._agent_loop_postprocess",
        ("self", "output", "validate", "kwargs"),
        "several rows of a trajectory",
    ),
    Hook(
        "verl.workers.rollout.llm_server:LLMServerClient.generate",
        (
            *("self", "request_id", "prompt_ids", "sampling_params", "image_data", "video_data"),
            *("audio_data", "mm_processor_kwargs", "kwargs"),
        ),
        "answers",
    ),
    Hook(
        "verl.trainer.ppo.utils:create_rl_dataset",
        ("data_paths", "data_config", "tokenizer", "processor", "is_train", "max_samples"),
        "tasks",
    ),
    Hook("verl.trainer.main_ppo:run_ppo", ("config", "task_runner_class"), "hgpo verl train"),
    Hook(
        "verl.utils.config:validate_config",
        ("config", "use_reference_policy", "use_critic"),
        "hgpo verl train",
    ),
    Hook("transfer_queue:kv_batch_get", ("keys", "partition_id", "select_fields"), "a batch's rows"),
)
"""The functions of verl that the plugin depends on, with their parameters in the supported versions."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    problem: str | None
    """The problem and what to do about it; None if there is none."""


def check() -> Iterator[Finding]:
    """Run all checks one after the other: version, processes, hooks.

    Raises:
        SettingError: if verl is missing or its version is not supported.
    """
    yield Finding(f"verl {verl_version()}, supported {SUPPORTED}", None)
    yield from _processes()
    for hook in HOOKS:
        yield check_hook(hook)


def check_hook(hook: Hook) -> Finding:
    """Compare a hook's parameters with the expected ones."""
    return Finding(f"{hook.path.replace(':', '.')} ({hook.use})", _difference(hook))


def _difference(hook: Hook) -> str | None:
    module, _, name = hook.path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        # Ray adds a parameter of its own to the methods of its actors.
        parameters = tuple(name for name in inspect.signature(found).parameters if name[:4] != "_ray")
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return f"does not exist: {error}; {REMEDY}"
    if parameters != hook.parameters:
        return (
            f"has the parameters ({', '.join(parameters)}), expected ({', '.join(hook.parameters)}); {REMEDY}"
        )
    return None


REMEDY = f"install a supported version: pip install 'verl{SUPPORTED}'"


def plugin_state() -> str | None:
    """Why the plugin is not loaded in this process after verl has been imported; None if it is loaded."""
    # verl prints a warning for every engine that is not installed.
    warnings.filterwarnings("ignore", category=UserWarning, module="verl")
    import verl  # noqa: F401

    policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto")
    if policy != "auto" and ENTRY_POINT not in policy.split(","):
        return f"VERL_USE_EXTERNAL_PLUGINS is {policy!r}: unset it, or name {ENTRY_POINT} in it"
    if ENTRY_POINT not in {entry.name for entry in entry_points(group="verl.plugins")}:
        return "hgpo is importable but not installed there: pip install 'hgpo[verl]'"
    from hgpo.adapters.verl import plugin

    return plugin.problem


def _processes() -> Iterator[Finding]:
    """The state of the plugin in this process, and in one process on every node of the Ray cluster."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours, address = not ray.is_initialized(), named_address()
    # Check the connection before importing verl, which takes longer.
    no_ray = why_not_joined(address) if ours and address is not None else None
    if address is not None:
        yield Finding(f"Ray at {address}", no_ray)
    yield Finding("plugin in this process", plugin_state())
    if no_ray is not None:
        return
    if ours:
        ray.init(
            address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
        )
    try:
        remote: Any = ray.remote(num_cpus=0, max_retries=0)(_state_or_error)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        states = [
            remote.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote()
            for node in nodes
        ]
        for node, state in zip(nodes, states, strict=True):
            try:
                problem: Any = ray.get(state)
            except RayError as error:
                problem = f"hgpo cannot be imported there: {str(error).strip().splitlines()[-1]}"
            yield Finding(f"plugin in a Ray worker on {node['NodeManagerAddress']}", problem)
    finally:
        if ours:
            ray.shutdown()


def _state_or_error() -> str | None:
    from hgpo.adapters.verl.check import plugin_state

    return plugin_state()
