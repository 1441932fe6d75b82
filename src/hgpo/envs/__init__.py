"""Environments: text in, text out."""

from collections.abc import Callable

from hgpo.envs.base import Environment, Info, Task, TaskSuite
from hgpo.envs.household import HouseholdSuite

ENVIRONMENTS: dict[str, Callable[..., TaskSuite]] = {
    "household": HouseholdSuite,
}
"""The suites that can be had by name; each is made without arguments, at its defaults."""

__all__ = ["ENVIRONMENTS", "Environment", "HouseholdSuite", "Info", "Task", "TaskSuite"]
