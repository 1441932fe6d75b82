"""The text of `hgpo train --help`: examples and everyday options, on one screen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hgpo.envs import ENVIRONMENTS
from hgpo.estimators import ESTIMATORS
from hgpo.registry import Registry
from hgpo.training.config import TrainConfig

EXAMPLES = (
    ("hgpo train", "household games, a small model made from scratch, ten minutes"),
    ("hgpo train --seed 1 estimator:gigpo", "another seed and another method"),
    ("hgpo train --max-prompt-tokens 1100 env:alfworld", "ALFWorld's official games"),
    ("hgpo train --model OWNER/NAME --lora.rank 32 --response think_action", "your own model"),
    ("hgpo train --preset alfworld-1.5b", "the published settings"),
    ("hgpo train agent:my_agent:play --tasks tasks.jsonl --model OWNER/NAME", "your own agent, as it is"),
    ("hgpo train env:my_games:MySuite estimator:my_ideas:MyEstimator", "classes of your own"),
    ("accelerate launch --num_processes 4 -m hgpo train --preset alfworld-1.5b", "four GPUs"),
    ("hgpo train --resume runs/FOLDER", "continue a run that was stopped"),
)

EVERYDAY = {
    "out": "the run's folder; a new one under runs/ by default",
    "model": "folder, GGUF file or Hugging Face name of a causal LM",
    "seed": "seed of everything random",
    "iterations": "rounds of rollout and update",
    "tasks_per_iteration": "tasks per iteration",
    "group_size": "rollouts per task, which are compared with one another",
    "prompt_history": "past steps that the prompt shows",
    "response": "how the agent answers: text, number or think_action",
    "learning_rate": "AdamW's; 1e-6 for models of 1.5B parameters and more",
    "evaluate_every": "iterations between evaluations; 0: only before and after training",
    "track": "experiment trackers: tensorboard, wandb, trackio",
}
"""The everyday settings of `TrainConfig`, with their help on one screen."""

NAMES: dict[str, Registry[Any]] = {"env": ENVIRONMENTS, "estimator": ESTIMATORS}
WIDTH = 28
NAMES_SHOWN = 3


def one_screen(defaults: TrainConfig, chosen: Mapping[str, Any]) -> str:
    """The text of `hgpo train --help`.

    Args:
        defaults: the values of settings that are not given.
        chosen: the environment and the estimator, by field, if the command line names them; their options are
            also shown.
    """
    lines = [
        "usage: hgpo train [OPTIONS] [env:NAME [ENV OPTIONS]] [estimator:NAME [ESTIMATOR OPTIONS]]",
        "",
        "Train an agent with group rollouts. By default a small language model is made from scratch,",
        "imitates walkthroughs of household games, and then learns from reward with HGPO.",
        "",
        "Examples:",
        *(f"  {command}  # {what}" for command, what in EXAMPLES),
        "",
        "Everyday options:",
    ]
    for name, what in EVERYDAY.items():
        option = f"  --{name.replace('_', '-')}"
        lines.append(f"{option:{WIDTH}}{what}{_shown(getattr(defaults, name))}")
    for field, what in (("env", "tasks"), ("estimator", "method")):
        lines.append(f"{f'  {field}:NAME':{WIDTH}}the {what}: {_first(NAMES[field])}")
    for field in chosen:
        choice = getattr(defaults, field)
        lines += ["", f"Options of {field}:{NAMES[field].name_of(type(choice))}:"]
        for setting in dataclasses.fields(choice):
            if setting.init:
                option = f"  --{field}.{setting.name.replace('_', '-')}"
                lines.append(f"{option:{WIDTH}}{_shown(getattr(choice, setting.name))}")
    return "\n".join([*lines, "", "All options: hgpo train --help-all"])


def _first(registry: Registry[Any]) -> str:
    """The first names that can be chosen."""
    names = [name.replace("_", "-") for name in registry]
    more = f", {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{', '.join(names[:NAMES_SHOWN])}{more}, or MODULE:CLASS"


def _shown(default: object) -> str:
    return "" if default in (None, ()) else f" [{default}]"
