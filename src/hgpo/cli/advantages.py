"""`hgpo advantages`: the advantages of rollouts in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console

from hgpo.cli.parse import first_stage, parse
from hgpo.cli.rollout_input import open_rollouts, say
from hgpo.errors import RunError, SettingError
from hgpo.estimators import ENTROPY_CREDITS, ESTIMATORS, EntropyCreditName
from hgpo.estimators.parallel import in_parallel
from hgpo.rollout_files import require_writable, result_path, write_columns
from hgpo.steps import StepTable

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class AdvantagesCommand(Generic[Settings]):
    """Compute the advantages of rollouts, and write them next to the ids of their steps.

    The file has one row per step, with the columns task_id, trajectory_id, step_index, state_key (or
    observation) and reward; docs/rollout-files.md describes all of them. The options under "settings" are
    those of the estimator that --estimator names.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A file of rollouts, or a folder of such files, read as one; docs/rollout-files.md lists the formats."""
    settings: tyro.conf.OmitArgPrefixes[Settings]
    """The estimator's own settings."""
    estimator: str = "hgpo"
    """hgpo, hbc, gigpo, grpo, dr_grpo, rloo, reinforce_plus_plus, ppo, graphgpo, g2po, gagpo, graft, crbc,
    ecpo, or MODULE:CLASS or FILE.py:CLASS of your own."""
    entropy_credit: EntropyCreditName = "none"
    """Also change the advantages by the column entropy, with any estimator: aem or empg."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The file to write (.parquet or .jsonl); by default FILE.advantages, in the format of FILE."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the output file if it exists."""
    rename: tuple[str, ...] = ()
    """THEIRS=OURS for each column that has another name in the file, e.g. uid=task_id."""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Number of threads; None uses one per core. The results do not depend on it."""


def main(args: Sequence[str]) -> int:
    """Read the rollouts, compute the advantages, write them and print a summary."""
    console = Console()
    first, _ = first_stage(AdvantagesCommand, ("estimator",), args)
    estimator = ESTIMATORS.find(first.estimator or AdvantagesCommand.estimator, "--estimator")
    default = AdvantagesCommand(tyro.MISSING, estimator())
    command = parse(AdvantagesCommand[estimator], args, "hgpo advantages", default)
    if command.workers is not None and command.workers < 1:
        raise SettingError(f"--workers is {command.workers}: expected 1 or more")
    out = command.out or result_path(command.file, "advantages")
    _check_out(out, command.file, command.overwrite)
    steps = open_rollouts(command.file, command.rename, console).steps
    credited = ENTROPY_CREDITS[command.entropy_credit](command.settings)
    started = time.perf_counter()
    try:
        advantages = in_parallel(credited, steps, command.workers)
    except ValueError as error:
        raise SettingError(f"{command.file}: {error}") from None
    seconds = time.perf_counter() - started
    _write(out, steps, advantages)
    say(
        console,
        f"{credited}\n"
        f"advantages: mean {advantages.mean():+.4f}, standard deviation {advantages.std():.4f}, "
        f"{np.mean(advantages == 0):.1%} exactly 0; {seconds:.2f} s\n"
        f"written to {out}",
    )
    return 0


def _check_out(out: Path, rollouts: Path, overwrite: bool) -> None:
    require_writable(out)
    try:
        if out.is_dir():
            raise SettingError(f"--out {out} is a folder: give the name of a file")
        if not (above := next(folder for folder in out.parents if folder.exists())).is_dir():
            raise SettingError(f"--out {out}: {above} is a file, not a folder")
        if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(rollouts)):
            raise SettingError(f"--out {out} is one of the rollout files themselves: give another --out")
        if out.exists() and not overwrite:
            raise SettingError(f"{out} already exists: give another --out, or --overwrite to replace it")
    except OSError as error:
        raise SettingError(f"--out {out}: {error.strerror}") from None


def _write(out: Path, steps: StepTable, advantages: NDArray[np.float64]) -> None:
    ids = {name: getattr(steps, name) for name in ("task_id", "trajectory_id", "step_index")}
    try:
        write_columns(out, {**ids, "advantage": advantages})
    except OSError as error:
        # Arrow's errors have the usual error number, but a different text.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise RunError(f"{out} cannot be written: {reason}; give another --out") from None
