"""Any Gymnasium environment with discrete actions as a task suite: a view turns what it returns into text."""

from hgpo.envs.gym.suite import GymSuite
from hgpo.envs.gym.views import View

__all__ = ["GymSuite", "View"]
