"""The rollouts that `hgpo diagnose` examines when it is given a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import transformers
from rich.console import Console

from hgpo.envs.base import tasks_of
from hgpo.estimators import HGPO
from hgpo.random_streams import EVALUATION
from hgpo.rollouts.rollout import rollout, step_table
from hgpo.runs.display import RichDisplay
from hgpo.steps import StepTable
from hgpo.training.config import load_config
from hgpo.training.open_run import open_run


def estimator_of_run(folder: Path) -> HGPO:
    """HGPO with the run's settings; for another estimator, with those settings that HGPO shares with it.

    Raises:
        SettingError: if the folder holds no run.
    """
    config = load_config(folder / "config.json")
    estimator: Any = config.estimator
    known = {setting.name for setting in dataclasses.fields(HGPO)}
    shared = {
        setting.name: getattr(estimator, setting.name)
        for setting in dataclasses.fields(estimator)
        if setting.init and setting.name in known
    }
    return HGPO(**{"history_length": config.prompt_history, **shared})


def steps_of_run(folder: Path, task_count: int | None, seed: int, console: Console) -> StepTable:
    """The steps of the run's agent on some training tasks, by each state key that the environment provides.

    Raises:
        SettingError: if the folder holds no run.
    """
    transformers.utils.logging.disable_progress_bar()
    run = open_run(folder)
    config, suite = run.config, run.config.env
    tasks = tasks_of(suite, suite.splits[0], task_count or config.tasks_per_iteration, seed=seed)
    with RichDisplay(console) as display, display.phase("rollouts") as advance:
        trajectories = rollout(
            suite,
            run.agent,
            tasks,
            group_size=config.group_size,
            temperature=config.temperature,
            seed=[seed, EVALUATION],
            on_step=lambda finished, live: advance(finished, finished + live),
        )
    steps = step_table(trajectories, policy_version=run.iteration)
    console.print(f"{folder}, iteration {run.iteration}: {steps!r}", soft_wrap=True)
    return steps
