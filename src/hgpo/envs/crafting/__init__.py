"""Crafting: get materials and craft things by recipes that differ from task to task, as in TextCraft."""

from hgpo.envs.crafting.suite import CraftingSuite

__all__ = ["CraftingSuite"]
