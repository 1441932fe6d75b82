"""`hgpo advantages`: the advantages of rollouts in a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import numpy as np
import tyro
from rich.console import Console

from hgpo.cli import wrong_use
from hgpo.cli.parse import parse
from hgpo.cli.rollouts import open_rollouts
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS
from hgpo.parallel import in_parallel
from hgpo.rollout_files import SUFFIXES, write_columns

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class AdvantagesCommand(Generic[Settings]):
    """Compute the advantages of rollouts, and write them beside the ids of their steps.

    The file is Parquet or JSON lines, one step a row, with the columns task_id, trajectory_id, step_index,
    state_key (or observation) and reward; docs/rollout-files.md describes all of them. The options below
    "settings" are those of the estimator that --estimator names.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A .parquet or .jsonl file of rollouts."""
    settings: tyro.conf.OmitArgPrefixes[Settings]
    """The estimator's own settings."""
    estimator: str = "hgpo"
    """hgpo, gigpo, grpo, dr_grpo, rloo, reinforce_plus_plus or ppo."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where the advantages go; by default FILE.advantages.parquet (or .jsonl) beside the rollouts."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace a file of that name."""
    rename: tuple[str, ...] = ()
    """THEIRS=OURS for each column that goes by another name in the file, e.g. uid=task_id."""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Threads; None takes one a core. The numbers do not depend on it."""


def main(args: Sequence[str]) -> int:
    """Read, estimate, write and say what came out."""
    console = Console()
    try:
        estimator = ESTIMATORS[_estimator_name(args)]
        command = parse(AdvantagesCommand[estimator], args, prog="hgpo advantages")
        if command.workers is not None and command.workers < 1:
            raise SettingError(f"--workers is {command.workers}: expected 1 or more")
        out = command.out or _beside(command.file)
        if not out.name.endswith(SUFFIXES):
            raise SettingError(f"--out {out}: expected a name that ends in {' or '.join(SUFFIXES)}")
        if out.exists() and (not command.overwrite or out.resolve() == command.file.resolve()):
            raise SettingError(f"{out} is there already: give another --out, or --overwrite to replace it")
        steps = open_rollouts(command.file, command.rename, console).steps
        started = time.perf_counter()
        try:
            advantages = in_parallel(command.settings, steps, command.workers)
        except ValueError as error:
            raise SettingError(f"{command.file}: {error}") from None
        seconds = time.perf_counter() - started
    except SettingError as error:
        return wrong_use(str(error))
    ids = {name: getattr(steps, name) for name in ("task_id", "trajectory_id", "step_index")}
    write_columns(out, {**ids, "advantage": advantages})
    console.print(
        f"{command.settings}\n"
        f"advantages: mean {advantages.mean():+.4f}, standard deviation {advantages.std():.4f}, "
        f"{np.mean(advantages == 0):.1%} exactly 0; {seconds:.2f} s\n"
        f"written to {out}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    return 0


def _estimator_name(args: Sequence[str]) -> str:
    """The estimator that the command line names: its settings are options of the same line."""
    name = "hgpo"
    for place, word in enumerate(args):
        if word == "--estimator" and place + 1 < len(args):
            name = args[place + 1]
        elif word.startswith("--estimator="):
            name = word.partition("=")[2]
    if name not in ESTIMATORS:
        raise SettingError(f"--estimator {name}: choose from {', '.join(ESTIMATORS)}")
    return name


def _beside(file: Path) -> Path:
    suffix = file.suffix if file.suffix in SUFFIXES else ".parquet"
    return file.with_name(f"{file.name.removesuffix(suffix)}.advantages{suffix}")
