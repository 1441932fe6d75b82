"""`hgpo check`: whether the adapter to a training stack fits the installed version of the stack."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from hgpo.cli.parse import parse

Stack = Literal["skyrl", "trinity", "trl", "verl"]
"""The training stacks with functions that their adapter, hgpo.adapters.STACK, calls or overrides."""


@dataclass(frozen=True)
class Check:
    """Check that the adapter to a training stack fits the installed version of the stack.

    It compares the name and parameters of every function that the adapter calls or overrides. For verl it
    also checks every process of the cluster, as `hgpo verl check`. The exit code is 0 if no problem was
    found.
    """

    stack: Annotated[Stack, tyro.conf.Positional]
    """The training stack."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command: Any = parse(Check, args, prog="hgpo check")
    return print_findings(command.stack)


def print_findings(stack: Stack) -> int:
    """Run the checks of a stack and print each result; the exit code is 1 if there is a problem.

    Raises:
        SettingError: if the stack is not installed or its version is not supported.
    """
    problems = 0
    for finding in importlib.import_module(f"hgpo.adapters.{stack}.check").check():
        problems += finding.problem is not None
        print(f"{'ok' if finding.problem is None else 'PROBLEM':8} {finding.what}", flush=True)
        if finding.problem is not None:
            print(f"{'':8} {finding.problem}", flush=True)
    print("no problems found" if not problems else f"{problems} problem{'s' if problems > 1 else ''}")
    return 1 if problems else 0
