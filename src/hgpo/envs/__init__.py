"""Environments: text in, text out."""

from collections.abc import Callable

from hgpo.envs.alfworld import AlfworldSuite
from hgpo.envs.alfworld.replay import replay as replay_alfworld
from hgpo.envs.base import Environment, Info, Task, TaskSuite
from hgpo.envs.household import HouseholdSuite
from hgpo.envs.replay import Comparison

ENVIRONMENTS: dict[str, Callable[..., TaskSuite]] = {
    "household": HouseholdSuite,
    "alfworld": AlfworldSuite,
}
"""The suites that can be had by name; each is made without arguments, at its defaults."""

REPLAYS: dict[str, Callable[..., Comparison]] = {"alfworld": replay_alfworld}
"""What replays recorded episodes of an environment, given its suite and the file."""

__all__ = [
    "ENVIRONMENTS",
    "REPLAYS",
    "AlfworldSuite",
    "Environment",
    "HouseholdSuite",
    "Info",
    "Task",
    "TaskSuite",
]
