"""`hgpo diagnose`: the groups that rollouts form, and which history depth K to use."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich import box
from rich.console import Console, Group
from rich.table import Table

from hgpo.analysis.choice import advice, score_choices
from hgpo.analysis.groups import (
    DepthStatistics,
    LevelStatistics,
    aliased_share,
    depth_statistics,
    level_statistics,
)
from hgpo.cli.parse import parse
from hgpo.cli.rollout_input import open_rollouts
from hgpo.errors import SettingError
from hgpo.estimators import HGPO
from hgpo.rollout_files import is_run
from hgpo.steps import STATE_KEY, StepTable

OF_FILES = HGPO(history_length=4)
"""The name of the state key in use, if the command gives no other."""
TRUTHS = ("full_state", "commands")
"""Keys that can serve as the true state: the whole state or, if there is none, the admissible commands."""


@dataclass(frozen=True)
class DiagnoseCommand:
    """Show how steps are grouped at each level, and recommend a state key and a history depth K.

    SOURCE is a file of rollouts, a folder of such files (docs/rollout-files.md), or the folder of a run. For
    a run, its agent plays training tasks and its estimator groups the steps. If there are several state keys,
    the steps are grouped once by each. "aliased" is the share of steps whose key has, within their task, more
    than one value of the key named by --truth. Such steps are compared although their true states differ,
    which biases the comparison.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A file of rollouts, a folder of such files, or a run's folder."""
    history_length: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The deepest level to examine; by default the run's K, and 4 for a file."""
    discount: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Discount γ of the returns to go; by default the run's, and 0.95 for a file."""
    invalid_penalty: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Subtracted from the return of a row whose action was not valid, in units of reward; by default the
    run's value, and 0 for a file."""
    similarity: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Observations at least this similar count as the same state; by default as in the run, and for a file
    only equal states count as the same."""
    start_token: Annotated[bool | None, tyro.conf.arg(metavar="{True,False}")] = None
    """Whether the start of an episode counts as a state of the history; by default as in the run, and False
    for a file."""
    truth: Annotated[str | None, tyro.conf.arg(metavar="KEY")] = None
    """The key that distinguishes the true states; by default full_state or, without it, commands."""
    rename: tuple[str, ...] = ()
    """THEIRS=OURS for each column that has another name in the file, e.g. uid=task_id."""
    tasks: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """For a run: number of tasks to play; by default as many as in one iteration of the run."""
    seed: int = 0
    """For a run: the seed of tasks and actions."""


def main(args: Sequence[str]) -> int:
    """Read or play the rollouts, group their steps and print the tables."""
    console = Console()
    command = parse(DiagnoseCommand, args, prog="hgpo diagnose")
    if command.seed < 0 or (command.tasks is not None and command.tasks < 1):
        raise SettingError("--tasks must be at least 1 and --seed at least 0")
    if is_run(command.source):
        # A run needs its model and therefore torch; a file does not.
        from hgpo.cli.diagnose_run import estimator_of_run, steps_of_run

        estimator = _estimator(command, estimator_of_run(command.source))
        steps = steps_of_run(command.source, command.tasks, command.seed, console)
        console.print(f"{estimator}", soft_wrap=True, highlight=False, markup=False)
    else:
        estimator = _estimator(command, OF_FILES)
        steps = open_rollouts(command.source, command.rename, console).steps
    keys = {STATE_KEY: steps.state_key, **steps.state_keys}
    tables = {name: steps.with_state_keys(key) for name, key in keys.items()}
    truth = _truth(command.truth, tables)
    try:
        report = _report(tables, truth, estimator)
    except ValueError as error:
        raise SettingError(f"{command.source}: {error}") from None
    console.print(report)
    return 0


def _estimator(command: DiagnoseCommand, default: HGPO) -> HGPO:
    """The estimator that groups the steps: the default one with the settings that the command changes."""
    names = ("history_length", "discount", "invalid_penalty", "similarity", "start_token")
    given = {name: getattr(command, name) for name in names if getattr(command, name) is not None}
    try:
        return dataclasses.replace(default, **given)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _truth(name: str | None, keys: Collection[str]) -> str | None:
    """The name of the key that aliasing is measured against; None if no key can serve as the true state."""
    if name is not None and name not in keys:
        raise SettingError(f"--truth {name}: no such key; choose from {', '.join(keys)}")
    return name or next((known for known in TRUTHS if known in keys), None)


def _report(tables: dict[str, StepTable], truth: str | None, estimator: HGPO) -> Group:
    choices = score_choices(tables, estimator)
    parts: list[Any] = []
    for name, steps in tables.items():
        statistics = level_statistics(steps, estimator.comparison(steps))
        title = f"state key {name}"
        if truth not in (None, name):
            title += f": {aliased_share(steps, tables[truth]):.1%} of the steps aliased"
        scores = [choice.score for choice in choices if choice.key == name]
        parts.append(_table(title, statistics, depth_statistics(steps, estimator), scores))
    parts.append(advice(choices) + "\n")
    aliased = f" aliased: steps whose key has more than one value of {truth}." if truth else ""
    parts.append(
        "[dim]size: group sizes as median/90th percentile/maximum. peer, other's: share of rows with a peer, "
        "and with a peer from another trajectory. expl.: share of the variance of returns within tasks that "
        "lies between groups, over the rows with a peer. gain: the same share of the variance that the level "
        "above leaves unexplained. Neither expl. nor gain says which key to use. drift, zero: HGPO's mean "
        "advantage for this K in standard deviations, and the share of advantages that are exactly 0. score: "
        "proportional to the expected cosine between HGPO's advantages and the true ones; it rises with the "
        "number of rows that are compared, and falls with the error of predicting their returns from other "
        "trajectories. "
        f"K need not be larger than the number of past steps in the prompts.{aliased}[/]"
    )
    return Group(*parts)


def _table(
    title: str,
    levels: Sequence[LevelStatistics],
    depths: Sequence[DepthStatistics],
    scores: Sequence[float],
) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in "K groups size peer other's expl. gain drift zero score".split():
        table.add_column(column, justify="right")
    for level, depth, score in zip(levels, depths, scores, strict=True):
        table.add_row(
            level.name,
            str(level.groups),
            "/".join(map(str, level.sizes)),
            f"{level.peer_fraction:.0%}",
            f"{level.other_trajectory_fraction:.0%}",
            _share(level.explained),
            _share(level.gain),
            f"{depth.advantage_mean:+.3f}",
            f"{depth.zero_share:.0%}",
            f"{score:.3f}",
        )
    return table


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"
