"""Tries the environment and the estimator that a command names before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from hgpo.adapters.verl.settings import StepwiseSettings
from hgpo.envs import ENVIRONMENTS
from hgpo.envs.base import Task, concurrency_of, tasks_of
from hgpo.envs.commands import random_command
from hgpo.envs.episode import EnvironmentFault, advance, begin
from hgpo.envs.faults import checked, run_isolated
from hgpo.envs.processes import timeout_in_threads
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS
from hgpo.random_streams import PROBE, RandomStreams
from hgpo.registry import Registry

TASKS = 2
"""Number of training tasks that are tried."""

NAMED: dict[str, Registry[Any]] = {"env": ENVIRONMENTS, "estimator": ESTIMATORS}
"""The classes that words such as env:NAME choose."""


def require_classes(words: Sequence[str]) -> None:
    """Check the classes that words of a command name, without importing verl, which takes seconds.

    Raises:
        SettingError: if there is no such class, or if it cannot be used.
    """
    for word in words:
        kind, _, name = word.partition(":")
        if kind in NAMED:
            NAMED[kind].find(name if ":" in name else name.replace("-", "_"), kind)


def require_playable(settings: StepwiseSettings) -> None:
    """Check that a training task can be started and that a command can be carried out in it.

    Raises:
        SettingError: if the environment fails in every task that is tried.
    """
    suite = settings.playing_suite()
    rng = RandomStreams(settings.seed).generator(PROBE)

    def first_step(task: Task) -> None:
        environment = suite.make()
        now = checked(begin(environment, task))
        if not now.over:
            command = random_command(now.info.admissible_commands, task.instruction, rng)
            checked(advance(environment, command))

    jobs = [partial(first_step, task) for task in tasks_of(suite, suite.splits[0], TASKS)]
    outcomes = run_isolated(jobs, timeout_in_threads(suite, settings.timeout), concurrency_of(suite))
    faults = [outcome for outcome in outcomes if isinstance(outcome, EnvironmentFault)]
    if len(faults) == len(jobs):
        raise SettingError(f"the environment fails at once: {faults[0]}; see hgpo env check")
