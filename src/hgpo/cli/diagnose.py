"""`hgpo diagnose`: the groups that a run's rollouts form, under each state key."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import transformers
import tyro
from rich.console import Console, Group
from rich.table import Table

from hgpo.analysis.groups import aliased_share, level_statistics
from hgpo.cli import wrong_use
from hgpo.cli.parse import parse
from hgpo.cli.runs import open_run
from hgpo.display import RichDisplay
from hgpo.errors import SettingError
from hgpo.rollout import rollout, step_table
from hgpo.states import STATE_KEYS
from hgpo.steps import StepTable
from hgpo.trainer import EVALUATION


@dataclass(frozen=True)
class DiagnoseCommand:
    """Play training games with a run's agent and show how its steps group, level by level.

    In an environment with a choice of state keys the same rollouts are grouped under each of them. "aliased"
    is the share of steps whose key stands for more than one full state of their game: what is compared there
    is not the same, and the comparison biased.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    tasks: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Games that are played; as many as in an iteration of the run if not given."""
    seed: int = 0
    """Draws games and actions."""


def main(args: Sequence[str]) -> int:
    """Play, group and print."""
    console = Console()
    transformers.utils.logging.disable_progress_bar()
    try:
        command = parse(DiagnoseCommand, args, prog="hgpo diagnose")
        if command.seed < 0 or (command.tasks is not None and command.tasks < 1):
            raise SettingError("--tasks must be at least 1 and --seed at least 0")
        run = open_run(command.run)
        config, agent = run.config, run.agent
        tables: dict[str, StepTable] = {}
        with RichDisplay(console) as display:
            for name, suite in _suites(config.env).items():
                # Neither games nor actions depend on the key, so these are the same rollouts each time.
                tasks = suite.tasks(
                    suite.splits[0], command.tasks or config.tasks_per_iteration, seed=command.seed
                )
                with display.phase(name) as advance:
                    trajectories = rollout(
                        suite,
                        agent,
                        tasks,
                        group_size=config.group_size,
                        temperature=config.temperature,
                        seed=[command.seed, EVALUATION],
                        on_step=lambda finished, live, advance=advance: advance(finished, finished + live),
                    )
                tables[name] = step_table(trajectories, policy_version=run.iteration)
    except SettingError as error:
        return wrong_use(str(error))
    console.print(_report(tables, config.history_length))
    return 0


def _suites(suite: Any) -> dict[str, Any]:
    """The suite under each state key that it can have; a suite without the choice as it is."""
    if "state_key" not in {field.name for field in dataclasses.fields(suite)}:
        return {"its own": suite}
    return {name: dataclasses.replace(suite, state_key=name) for name in STATE_KEYS}


def _report(tables: dict[str, StepTable], history_length: int) -> Group:
    truth = tables.get("full_state")
    parts: list[Any] = [f"{next(iter(tables.values()))!r}"]
    for name, rows in tables.items():
        aliased = "" if truth is None else f": {aliased_share(rows, truth):.1%} of the steps aliased"
        table = Table(title=f"state key {name}{aliased}", title_justify="left")
        for column in ("level", "groups", "mean size", "largest", "with a peer", "of another trajectory"):
            table.add_column(column, justify="right")
        for level in level_statistics(rows, history_length):
            table.add_row(
                str(level.level),
                str(level.groups),
                f"{level.mean_size:.1f}",
                str(level.largest),
                f"{level.peer_share:.1%}",
                f"{level.other_trajectory_share:.1%}",
            )
        parts.append(table)
    return Group(*parts)
