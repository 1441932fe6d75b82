"""Environments, with observations and commands as text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hgpo.envs.alfworld import AlfworldSuite
from hgpo.envs.alfworld.replay import replay as replay_alfworld
from hgpo.envs.base import Environment, Info, Task, TaskSuite
from hgpo.envs.bridges import GymSuite, OpenEnvSuite, TextArenaSuite
from hgpo.envs.crafting import CraftingSuite
from hgpo.envs.frozenlake import FrozenLakeSuite
from hgpo.envs.household import HouseholdSuite
from hgpo.envs.plain import from_class
from hgpo.envs.replay import Comparison
from hgpo.envs.search_qa import SearchQASuite
from hgpo.envs.sokoban import SokobanSuite
from hgpo.envs.webshop import WebshopSuite
from hgpo.registry import Registry

_SUITES: tuple[Any, ...] = (
    *(HouseholdSuite, AlfworldSuite, WebshopSuite),
    *(SokobanSuite, FrozenLakeSuite, CraftingSuite, SearchQASuite),
    *(GymSuite, TextArenaSuite, OpenEnvSuite),
)
ENVIRONMENTS: Registry[Callable[..., TaskSuite]] = Registry(
    "an environment",
    {suite.name: suite for suite in _SUITES},
    group="hgpo.environments",
    needs=("name", "splits", "tasks", "make", "walkthrough", "texts"),
    how="hgpo.envs.from_class makes one of a class with reset and step",
)
"""The suites by name; each can be made without arguments."""


def _replay_webshop(suite: WebshopSuite, path: Path) -> Comparison:
    # Imported on demand, because a shop needs packages that not all users have.
    from hgpo.envs.webshop.replay import replay

    return replay(suite, path)


REPLAYS: dict[str, Callable[..., Comparison]] = {
    AlfworldSuite.name: replay_alfworld,
    WebshopSuite.name: _replay_webshop,
}
"""For each environment, the function that replays recorded episodes, given its suite and the file."""

__all__ = [
    "ENVIRONMENTS",
    "REPLAYS",
    "AlfworldSuite",
    "CraftingSuite",
    "Environment",
    "FrozenLakeSuite",
    "GymSuite",
    "HouseholdSuite",
    "Info",
    "OpenEnvSuite",
    "SearchQASuite",
    "SokobanSuite",
    "Task",
    "TaskSuite",
    "TextArenaSuite",
    "WebshopSuite",
    "from_class",
]
