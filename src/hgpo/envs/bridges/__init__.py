"""Environments of other projects as task suites; each needs the packages of its extra, hgpo[NAME]."""

from hgpo.envs.bridges.gym import GymSuite
from hgpo.envs.bridges.gym_views import View
from hgpo.envs.bridges.openenv import OpenEnvSuite
from hgpo.envs.bridges.textarena import TextArenaSuite

__all__ = ["GymSuite", "OpenEnvSuite", "TextArenaSuite", "View"]
