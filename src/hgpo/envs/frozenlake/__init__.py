"""FrozenLake: walk over a lake to the goal without falling into a hole, on maps that are generated."""

from hgpo.envs.frozenlake.suite import FrozenLakeSuite

__all__ = ["FrozenLakeSuite"]
