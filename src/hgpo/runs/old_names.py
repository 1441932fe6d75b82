"""Names from the previous release that are still accepted in this release."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TRAINING = {
    "--history-length": "--prompt-history",
    "--passes": "--ppo-epochs",
    "--optimizer-steps": "--num-minibatches",
    "--critic.passes": "--critic.ppo-epochs",
    "--critic.optimizer-steps": "--critic.num-minibatches",
    "--sampling-rounds": "--dynamic-sampling-rounds",
    "--thin-out-below": "--subsample-below",
    "--evaluation-games": "--evaluation-tasks",
    "--warm-start.games": "--warm-start.tasks",
    "--env.panel-size": "--env.split-size",
}

OPTIONS = {
    "train": _TRAINING,
    "compare": _TRAINING,
    "evaluate": {"--history-length": "--prompt-history", "--panel": "--split", "--games": "--tasks"},
    "env": {"--games": "--tasks"},
}
"""Old and current names of options, by command."""

SETTINGS = {
    "passes": "ppo_epochs",
    "optimizer_steps": "num_minibatches",
    "sampling_rounds": "dynamic_sampling_rounds",
    "thin_out_below": "subsample_below",
    "evaluation_games": "evaluation_tasks",
    "panel_size": "split_size",
}
"""Old and current names of settings in config.json that hold for every class; see also `SETTINGS_OF`."""

SETTINGS_OF = {"TrainConfig": {"history_length": "prompt_history"}, "WarmStart": {"games": "tasks"}}
"""Old and current names of settings that hold for one class only."""

VERL = {"history_length": "prompt_history"}
"""Settings in the section `hgpo` of a verl configuration."""

METRICS = {
    "valid_share": "valid_action_rate",
    "clip_share": "clip_fraction",
    "sampler_difference": "logprob_mismatch",
    "kept_share": "kept_fraction",
    "distinct_prompt_share": "distinct_prompt_fraction",
    "zero_advantage_share": "zero_advantage_fraction",
    "update_row_share": "update_row_fraction",
    "lost_trajectories": "failed_trajectories",
    "lost": "failed",
    "sampling_rounds": "dynamic_sampling_rounds",
}
"""Metrics in metrics.jsonl and evaluations.jsonl; `peer_share_K`, one per level, is `peer_fraction_K`."""

EVALUATIONS = {"games_won": "tasks_won", "games": "suite"}
"""Further names in evaluations.jsonl."""
SUCCESS = {"games": "tasks"}
"""Names in the objects `success` and `by_kind` of evaluations.jsonl."""


def current_options(command: str, args: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line with the options' current names, and one deprecation message per old name.

    Args:
        command: the command's name, such as "train".
        args: the words after it.
    """
    names = OPTIONS.get(command, {})
    words, lines = [], []
    for word in args:
        option, equals, value = word.partition("=")
        # Options may be written with underscores, too.
        new = names.get(option.replace("_", "-"))
        if new is not None:
            lines.append(f"{option} is deprecated: the option's name is {new}")
        words.append(word if new is None else f"{new}{equals}{value}")
    return words, lines


def current_settings(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under their current names.

    Args:
        kind: the name of the settings' class.
        values: as they are in the file.
    """
    names = {**SETTINGS, **SETTINGS_OF.get(kind, {})}
    return {names.get(name, name): value for name, value in values.items()}


def current_verl_settings(section: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The section `hgpo` of a verl configuration with current names, and one message per old name in use.

    Args:
        section: the section as configured; an old name with the value None counts as not set.
    """
    settings = {name: value for name, value in section.items() if name not in VERL}
    old = {name: section[name] for name in VERL if section.get(name) is not None}
    settings.update({VERL[name]: value for name, value in old.items()})
    return settings, [f"hgpo.{name} is deprecated: set hgpo.{VERL[name]}" for name in old]


def current_metrics(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of metrics under their current names."""
    return {
        METRICS.get(name) or re.sub(r"^peer_share_", "peer_fraction_", name): v for name, v in record.items()
    }


def current_evaluation(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of an evaluation under its current names."""
    current = {EVALUATIONS.get(name, name): value for name, value in current_metrics(record).items()}
    if "success" in current:
        current["success"] = _current_success(current["success"])
    if "by_kind" in current:
        current["by_kind"] = {kind: _current_success(found) for kind, found in current["by_kind"].items()}
    return current


def _current_success(success: Mapping[str, int]) -> dict[str, int]:
    return {SUCCESS.get(name, name): value for name, value in success.items()}
