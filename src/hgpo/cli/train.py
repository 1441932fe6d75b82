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
from hgpo.training.config import TrainConfig, load_config
from hgpo.training.presets import starting_config

PROG, ALL_OPTIONS = "hgpo train", "--help-all"
DECIDING = ("preset", "model", "env", "estimator", "prompt_history")
"""The options that decide the defaults of others."""


@dataclass(frozen=True)
class TrainCommand(TrainConfig):
    """Train an agent with group rollouts: all options. Examples: hgpo train --help."""

    preset: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Start from published settings: the run alfworld-1.5b, alfworld-7b, webshop-1.5b or webshop-7b. The
    methods gspo, cispo, sapo and sampo can be added to a run or to the defaults (--preset alfworld-1.5b
    --preset sampo). All other options override them. hgpo presets NAMES shows every value and its source."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The run's folder, which must not hold a run yet; by default a new one under runs/."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Continue the run in this folder with its own settings; no other option may be given with it."""


def main(args: Sequence[str]) -> int:
    """Train, then print the evaluations and where the results are."""
    first, others = first_stage(TrainCommand, DECIDING, args)
    if {"-h", "--help"} & set(others):
        print(one_screen(_default(first), _chosen(first)))
        return 0
    config, folder = _settings(parse(TrainCommand, args, PROG, _default(first), ALL_OPTIONS))
    # --help and error messages need no torch.
    from hgpo.cli.train_run import train

    return train(config, folder)


def parse_train(args: Sequence[str]) -> TrainCommand:
    """The options of `hgpo train`, with the defaults that follow from `args`."""
    first, _ = first_stage(TrainCommand, DECIDING, args)
    return parse(TrainCommand, args, PROG, _default(first), ALL_OPTIONS)


def _default(first: Any) -> TrainCommand:
    """The values of options that are not given, once the first stage has read `first`."""
    chosen = _chosen(first)
    games = chosen["env"].name if "env" in chosen else ""
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
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}


def _new_folder(config: TrainConfig) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    estimator = type(config.estimator).__name__.lower()
    return Path("runs") / f"{stamp}-{config.env.name}-{estimator}-seed{config.seed}"
