"""Looks up classes by name: the package's own, those of installed packages, and users' MODULE:CLASS."""

from hgpo.registry.creation import create, nearest
from hgpo.registry.loading import full_spelling, load_class, own_place, spelling_of
from hgpo.registry.registry import Registry

__all__ = ["Registry", "create", "full_spelling", "load_class", "nearest", "own_place", "spelling_of"]
