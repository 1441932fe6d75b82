"""`hgpo compare`."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from hgpo.cli import INTERRUPTED
from hgpo.cli.parse import parse
from hgpo.cli.train import parse_train, settings_of
from hgpo.compare.plan import ABLATIONS, Plan, load_plan
from hgpo.compare.report import summary_tables, write_results
from hgpo.compare.runs import Progress, carry_out
from hgpo.compare.summary import finished_seeds, suites_played, summarize
from hgpo.envs import ENVIRONMENTS
from hgpo.envs.base import require_tasks
from hgpo.errors import SettingError
from hgpo.runs.display import RichDisplay
from hgpo.training.config import TrainConfig


@dataclass(frozen=True)
class CompareCommand:
    """Train with several methods on the same games, from the same warm start, with the same budget, and say
    which is better, with intervals over seeds and games.

    The runs share the cores, one each. Ctrl-C saves; --resume goes on. What stands behind "--" is given to
    every run, as to `hgpo train`: hgpo compare --estimators grpo hgpo -- --group-size 8 --iterations 90
    Losses are compared by: hgpo compare --estimators hgpo grpo --losses own gspo cispo
    """

    estimators: tuple[str, ...] = ("grpo", "gigpo", "hgpo")
    """The methods: any estimator of `hgpo train`; HGPO with one setting changed: hgpo-k0, hgpo-k1, hgpo-k4,
    hgpo-alpha0, hgpo-alpha2, hgpo-episode, hgpo-others (peers from other trajectories), hgpo-reliability,
    hgpo-size; hbc-k0, which compares states only; MODULE:CLASS or FILE.py:CLASS of your own. All others are
    compared with HGPO, or else with the last one named."""
    losses: tuple[str, ...] = ()
    """Policy losses, each combined with every method: own (that of the settings), clip-higher, sequence,
    masked, gspo, cispo, sapo. Each is compared with the first one named. None: own alone."""
    ablations: tyro.conf.FlagCreatePairsOff[bool] = False
    """HGPO's ablations too: K of 0, 1, 4, α of 0, 2, the episode level, peers of other trajectories."""
    seeds: int = 5
    """Runs of each method, with the seeds 0, 1, …"""
    env: str | None = None
    """The games: a name, or MODULE:CLASS or FILE.py:CLASS of your own; their settings go behind "--". None:
    those of a preset there, or else household games."""
    budget_steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """A run ends after the iteration in which it reaches this number of environment steps, so that a method
    with short episodes gets more of them; None: every run has the same number of iterations."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Runs at the same time; None: one per core."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The comparison's folder; by default a new one under runs/."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Go on with the comparison in this folder; only --jobs and --report-only may be given with it."""
    report_only: tyro.conf.FlagCreatePairsOff[bool] = False
    """With --resume: run nothing, and say what the seeds that all methods have finished tell so far."""


def main(args: Sequence[str]) -> int:
    """Run what is not done yet, then print the table and where everything is."""
    console = Console()
    words = list(args)
    place = words.index("--") if "--" in words else len(words)
    own, training = words[:place], words[place + 1 :]
    command = parse(CompareCommand, own, prog="hgpo compare")
    if command.jobs is not None and command.jobs < 1:
        raise SettingError(f"--jobs is {command.jobs}: expected 1 or more")
    plan, folder = _plan(command, training)
    stopped = not command.report_only and not _carry_out(plan, folder, command.jobs, console)
    seeds = finished_seeds(plan, folder)
    if command.report_only and not seeds:
        raise SettingError(f"no seed is finished by all methods in {folder} yet: nothing to report")
    if seeds:
        _report(plan, folder, seeds, console)
    if stopped:
        console.print(f"stopped; go on with: hgpo compare --resume {folder}", soft_wrap=True)
        return INTERRUPTED
    return 0


def _carry_out(plan: Plan, folder: Path, jobs: int | None, console: Console) -> bool:
    """Run what is not done yet; False if Ctrl-C came before the end."""
    total = len(plan.arms) * plan.seeds * plan.settings.iterations
    try:
        with RichDisplay(console) as display, display.phase("iterations") as advance:

            def show(progress: Progress) -> None:
                advance(progress.iterations_done, total)

            carry_out(plan, folder, jobs or os.cpu_count() or 1, show)
    except KeyboardInterrupt:
        return False
    return True


def _report(plan: Plan, folder: Path, seeds: Sequence[int], console: Console) -> None:
    """Write and print what the finished seeds say."""
    # matplotlib takes seconds to load: only where pictures are drawn.
    from hgpo.compare.pictures import plot_curves, plot_success

    summaries = summarize(plan, folder)
    suite = suites_played(plan, folder, seeds)
    write_results(folder, summaries, plan.reference, suite)
    plot_success(summaries, folder / "success.png")
    plot_curves(plan, folder, seeds, folder / "curves.png")
    console.print(summary_tables(summaries, seeds, plan.reference, suite))
    contents = "results.md, results.json, success.png, curves.png, runs"
    console.print(f"comparison: {folder} ({contents})", soft_wrap=True)


def with_games(env: str | None, training: Sequence[str]) -> Sequence[str]:
    """The words for `hgpo train`, with the games of --env where they name none."""
    if env is None or any(word.startswith("env:") for word in training):
        return training
    ENVIRONMENTS.find(env, "--env")
    return [f"env:{env}", *training]


def _plan(command: CompareCommand, training: Sequence[str]) -> tuple[Plan, Path]:
    """The comparison and its folder, new or old."""
    if command.resume is not None:
        if (
            dataclasses.replace(command, resume=None, jobs=None, report_only=False) != CompareCommand()
            or training
        ):
            raise SettingError(
                "--resume takes the plan in the folder: give only --jobs or --report-only with it"
            )
        return load_plan(command.resume / "plan.json"), command.resume
    if command.report_only:
        raise SettingError("--report-only reports on a comparison that is there: give its --resume FOLDER")
    train = parse_train(with_games(command.env, training))
    if train.out is not None or train.resume is not None:
        raise SettingError('give --out or --resume of the comparison, before "--"')
    values = settings_of(train)
    if command.budget_steps is not None:
        values["budget_steps"] = command.budget_steps
    methods = (*command.estimators, *(ABLATIONS if command.ablations else ()))
    plan = Plan(tuple(dict.fromkeys(methods)), command.seeds, TrainConfig(**values), command.losses)
    require_tasks(plan.settings.env, plan.settings.env.splits, plan.settings.evaluation_tasks)
    folder = command.out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-compare-{train.env.name}"
    if (folder / "plan.json").exists():
        raise SettingError(
            f"{folder} holds a comparison already: go on with it by --resume, or give another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    plan.save(folder / "plan.json")
    return plan, folder
