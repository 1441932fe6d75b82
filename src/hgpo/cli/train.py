"""`hgpo train`: train an agent, or continue a run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hgpo.cli.parse import first_stage, parse
from hgpo.cli.train_help import one_screen
from hgpo.errors import SettingError
from hgpo.gateway.suite import AgentSuite
from hgpo.policies.settings import Lora
from hgpo.training.checkpoint_folder import latest_checkpoint
from hgpo.training.config import TrainConfig, load_config, with_prompt_history
from hgpo.training.presets import starting_config

PROG, ALL_OPTIONS = "hgpo train", "--help-all"
AGENT = "agent:"
DECIDING = ("preset", "model", "init", "env", "agent", "estimator", "prompt_history")
"""The options that decide the defaults of others."""


@dataclass(frozen=True)
class TrainCommand(TrainConfig):
    """Train an agent with group rollouts: all options. Examples: hgpo train --help."""

    preset: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Start from published settings: the run alfworld-1.5b, alfworld-7b, webshop-1.5b or webshop-7b. The
    methods gspo, cispo, sapo and sampo can be added to a run or to the defaults (--preset alfworld-1.5b
    --preset sampo). All other options override them. hgpo presets NAMES shows every value and its source."""
    agent: Annotated[str | None, tyro.conf.arg(metavar="MODULE:NAME")] = None
    """Train an agent of your own in its own environment: its function `play(task, client)`, as MODULE:NAME or
    FILE.py:NAME. agent:MODULE:NAME is short for it. See docs/agents.md."""
    tasks: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """The tasks of an agent of your own: a file of JSON lines, one task per line."""
    held_out: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """The tasks on which such an agent is evaluated; by default every fifth of --tasks, which are then not
    used for training."""
    state_key: Annotated[str | None, tyro.conf.arg(metavar="MODULE:NAME")] = None
    """For an agent of your own: a function that returns the state key of a request's messages. By default it
    is the last message of a user or a tool."""
    init: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Start from the policy of the latest checkpoint of the run in this folder, with that run's settings as
    defaults, apart from --iterations and --budget-steps, and without reading or warm start."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The run's folder, which must not hold a run yet; by default a new one under runs/."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Continue the run in this folder with its own settings; no other option may be given with it."""


def main(args: Sequence[str]) -> int:
    """Train, then print the evaluations and where the results are."""
    args = _agent_as_option(args)
    first, others = first_stage(TrainCommand, DECIDING, args)
    if {"-h", "--help"} & set(others):
        print(one_screen(_default(first), _chosen(first)))
        return 0
    config, folder = _settings(parse_train(args))
    # --help and error messages need no torch.
    from hgpo.cli.train_run import train

    return train(config, folder)


def parse_train(args: Sequence[str]) -> TrainCommand:
    """The options of `hgpo train`, with the defaults that follow from `args`."""
    args = _agent_as_option(args)
    first, _ = first_stage(TrainCommand, DECIDING, args)
    command = parse(TrainCommand, args, PROG, _default(first), ALL_OPTIONS)
    if command.agent is not None:
        _refuse_without_effect(args)
    return command


def _default(first: Any) -> TrainCommand:
    """The values of options that are not given, once the first stage has read `first`."""
    chosen = _chosen(first)
    games = chosen["env"].name if "env" in chosen else ""
    if first.init is not None:
        values = _settings_of_run(first)
    elif first.agent is not None and first.model is None and not first.preset:
        raise SettingError("an agent of your own needs a model that can write: give --model or --init")
    else:
        values = settings_of(starting_config(first.preset, first.model, games, first.prompt_history))
    for name, choice in chosen.items():
        # A choice of the same kind as the preset's keeps the preset's values.
        if type(choice) is not type(values[name]):
            values[name] = choice
    return TrainCommand(**values, preset=first.preset)


def _chosen(first: Any) -> dict[str, Any]:
    """The environment and the estimator that the words name, by field."""
    chosen = {"env": first.env, "estimator": first.estimator}
    return {name: choice for name, choice in chosen.items() if choice is not None}


def _settings(command: TrainCommand) -> tuple[TrainConfig, Path]:
    """The run's config and folder, new or old."""
    if command.resume is not None:
        if dataclasses.replace(command, resume=None) != TrainCommand():
            raise SettingError("--resume takes the settings of the run in the folder: give no other with it")
        return load_config(command.resume / "config.json"), command.resume
    config = TrainConfig(**settings_of(command))
    folder = command.out or _new_folder(config)
    if (folder / "config.json").exists():
        raise SettingError(f"{folder} already holds a run: continue it with --resume, or give another --out")
    return config, folder


def settings_of(config: TrainConfig) -> dict[str, Any]:
    """The settings of a run by name, without the options that only the command has."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    return values | (_agent(config) if isinstance(config, TrainCommand) else {})


def _settings_of_run(first: Any) -> dict[str, Any]:
    """The settings of the run that --init names, for a run that starts from its policy."""
    if first.model is not None or first.preset:
        raise SettingError("--init takes model and settings from a run: give no --model or --preset with it")
    config = load_config(first.init / "config.json")
    checkpoint = latest_checkpoint(first.init / "checkpoints")
    if checkpoint is None:
        raise SettingError(f"--init {first.init}: the run has no checkpoint yet")
    if first.prompt_history is not None:
        config = with_prompt_history(config, first.prompt_history)
    values = settings_of(config) | {
        "model": str(checkpoint.resolve()),
        "lora": Lora(),
        "reading": dataclasses.replace(config.reading, tasks=0),
        "warm_start": dataclasses.replace(config.warm_start, tasks=0),
        "iterations": TrainConfig.iterations,
        "budget_steps": None,
    }
    suite = values["env"]
    if isinstance(suite, AgentSuite):
        del values["env"]
        own = (suite.play, suite.tasks_file, suite.held_out_file or None, suite.state_key or None)
        values |= zip(("agent", "tasks", "held_out", "state_key"), own, strict=True)
    return values


def _agent_as_option(args: Sequence[str]) -> list[str]:
    """The words, with --agent SPELLING for agent:SPELLING."""
    pairs = ((("--agent", word.removeprefix(AGENT)) if word.startswith(AGENT) else (word,)) for word in args)
    return [word for pair in pairs for word in pair]


def _refuse_without_effect(args: Sequence[str]) -> None:
    """Refuse options of the built-in agent and of environments, which an agent of the user's own ignores."""
    for word in args:
        if word.partition("=")[0] == "--response" or word.startswith(("--env.", "env:")):
            raise SettingError(
                f"{word} has no effect on an agent of your own, which has its own prompts and its own "
                "environment: leave it out"
            )


def _agent(command: TrainCommand) -> dict[str, Any]:
    """The environment's setting for an agent of the user's own; empty for the built-in agent."""
    if command.agent is None:
        for name in ("tasks", "held_out", "state_key"):
            if getattr(command, name) is not None:
                raise SettingError(
                    f"--{name.replace('_', '-')} needs an agent of your own: agent:MODULE:NAME"
                )
        return {}
    if command.tasks is None:
        raise SettingError("an agent of your own needs --tasks, a file of JSON lines with one task per line")
    suite = AgentSuite(command.agent, command.tasks, command.held_out or "", command.state_key or "")
    suite.check()
    return {"env": suite}


def _new_folder(config: TrainConfig) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    estimator = type(config.estimator).__name__.lower()
    return Path("runs") / f"{stamp}-{config.env.name}-{estimator}-seed{config.seed}"
