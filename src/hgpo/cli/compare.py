"""`hgpo compare`: train several methods with several seeds, and compare them with intervals."""

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
from hgpo.compare.runs import Progress, carry_out
from hgpo.compare.summary import finished_seeds, suites_played, summarize
from hgpo.compare.tables import summary_tables, write_results
from hgpo.envs import ENVIRONMENTS
from hgpo.envs.base import require_tasks
from hgpo.errors import SettingError
from hgpo.runs.display import RichDisplay
from hgpo.training.config import TrainConfig


@dataclass(frozen=True)
class CompareCommand:
    """Train with several methods on the same tasks, from the same warm start, with the same budget, and
    report which is better, with confidence intervals over seeds and tasks.

    Each run uses one core. Ctrl-C saves; --resume continues. Options after "--" are those of `hgpo train`
    and apply to every run.

    hgpo compare --estimators grpo hgpo -- --group-size 8 --iterations 90

    hgpo compare --estimators hgpo grpo --losses own gspo cispo
    """

    estimators: tuple[str, ...] = ("grpo", "gigpo", "hgpo")
    """The methods: any estimator of `hgpo train`; HGPO with one setting changed: hgpo-k0, hgpo-k1, hgpo-k4,
    hgpo-alpha0, hgpo-alpha2, hgpo-episode, hgpo-others (peers from other trajectories), hgpo-reliability,
    hgpo-size; hbc-k0, which compares states only; MODULE:CLASS or FILE.py:CLASS of your own. The others are
    compared with HGPO or, if it is not among them, with the last one."""
    losses: tuple[str, ...] = ()
    """Policy losses, each combined with every method: own (the loss in the settings), clip-higher, sequence,
    masked, gspo, cispo, sapo. Each is compared with the first one. None: only the loss in the settings."""
    ablations: tyro.conf.FlagCreatePairsOff[bool] = False
    """Add HGPO's ablations: K of 0, 1, 4, α of 0, 2, the episode level, peers from other trajectories."""
    seeds: int = 5
    """Number of runs per method, with the seeds 0, 1, …"""
    env: str | None = None
    """The environment: a name, or MODULE:CLASS or FILE.py:CLASS of your own; its settings go after "--".
    None: the environment of a preset given after "--", or else the household tasks."""
    budget_steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Each run ends after the iteration in which it reaches this number of environment steps, so that a
    method with short episodes gets more iterations; None: every run has the same number of iterations."""
    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Number of runs at the same time; None: one per core."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The comparison's folder; by default a new one under runs/."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Continue the comparison in this folder; only --jobs and --report-only may be given with it."""
    report_only: tyro.conf.FlagCreatePairsOff[bool] = False
    """With --resume: train nothing, and report the seeds that all methods have finished so far."""


def main(args: Sequence[str]) -> int:
    """Train the runs that are not finished, then print the table and the folder of the results."""
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
        console.print(f"stopped; continue with: hgpo compare --resume {folder}", soft_wrap=True)
        return INTERRUPTED
    return 0


def _carry_out(plan: Plan, folder: Path, jobs: int | None, console: Console) -> bool:
    """Train the runs that are not finished; False if Ctrl-C stopped it before the end."""
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
    """Write and print the results of the finished seeds."""
    # Imported here because loading matplotlib takes seconds.
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
    """The options for `hgpo train`, with the environment of --env added if they name none."""
    if env is None or any(word.startswith("env:") for word in training):
        return training
    ENVIRONMENTS.find(env, "--env")
    return [f"env:{env}", *training]


def _plan(command: CompareCommand, training: Sequence[str]) -> tuple[Plan, Path]:
    """The plan of the comparison and its folder, new or resumed."""
    if command.resume is not None:
        if (
            dataclasses.replace(command, resume=None, jobs=None, report_only=False) != CompareCommand()
            or training
        ):
            raise SettingError(
                "--resume uses the plan in the folder: give only --jobs or --report-only with it"
            )
        return load_plan(command.resume / "plan.json"), command.resume
    if command.report_only:
        raise SettingError("--report-only reports on an existing comparison: give its folder with --resume")
    train = parse_train(with_games(command.env, training))
    if train.out is not None or train.resume is not None:
        raise SettingError('give --out or --resume of the comparison before "--"')
    values = settings_of(train)
    if command.budget_steps is not None:
        values["budget_steps"] = command.budget_steps
    methods = (*command.estimators, *(ABLATIONS if command.ablations else ()))
    plan = Plan(tuple(dict.fromkeys(methods)), command.seeds, TrainConfig(**values), command.losses)
    require_tasks(plan.settings.env, plan.settings.env.splits, plan.settings.evaluation_tasks)
    folder = command.out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-compare-{train.env.name}"
    if (folder / "plan.json").exists():
        raise SettingError(
            f"{folder} already holds a comparison: continue it with --resume, or give another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    plan.save(folder / "plan.json")
    return plan, folder
