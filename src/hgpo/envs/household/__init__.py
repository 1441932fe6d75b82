"""This project's household games in ALFWorld's format: six task types, generated in memory from a seed."""

from hgpo.envs.household.generator import generate
from hgpo.envs.household.suite import HouseholdSuite

__all__ = ["HouseholdSuite", "generate"]
