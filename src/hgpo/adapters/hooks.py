"""Compares the functions of another training stack with what an adapter expects of them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hgpo.adapters.versions import SUPPORTED, supported_version


@dataclass(frozen=True)
class Hook:
    """A function or method of a stack that an adapter calls or overrides."""

    path: str
    """MODULE:NAME, or MODULE:CLASS.NAME."""
    parameters: tuple[str, ...]
    """Its parameters in order, including "self"."""
    use: str
    """The part of the adapter that needs it."""
    optional: tuple[str, ...] = ()
    """Parameters that only some of the supported versions have."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    problem: str | None
    """The problem and what to do about it; None if there is none."""


def check_hooks(hooks: Iterable[Hook], package: str) -> Iterator[Finding]:
    """Check a stack's version, then each hook.

    Args:
        hooks: the hooks.
        package: as in `check_hook`.

    Raises:
        SettingError: if the stack is missing or its version is not supported.
    """
    yield Finding(f"{package} {supported_version(package)}, supported {SUPPORTED[package]}", None)
    for hook in hooks:
        yield check_hook(hook, package)


def check_hook(hook: Hook, package: str) -> Finding:
    """Compare a hook's parameters with the expected ones.

    Args:
        hook: the hook.
        package: the name of the stack's package in `SUPPORTED`.
    """
    problem = _difference(hook)
    if problem is not None:
        problem += f"; install a supported version: pip install '{package}{SUPPORTED[package]}'"
    return Finding(f"{hook.path.replace(':', '.')} ({hook.use})", problem)


def _difference(hook: Hook) -> str | None:
    module, _, name = hook.path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        # Ray adds a parameter of its own to the methods of its actors.
        parameters = tuple(
            name
            for name in inspect.signature(found).parameters
            if name[:4] != "_ray" and name not in hook.optional
        )
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return f"does not exist: {error}"
    if parameters != hook.parameters:
        return f"has the parameters ({', '.join(parameters)}), expected ({', '.join(hook.parameters)})"
    return None
