"""How the threads of a model's arithmetic wait for one another."""

from __future__ import annotations

from collections.abc import MutableMapping

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""The variables by which OpenMP's runtimes are told how to wait: all of them, GNU's, Intel's and LLVM's."""


def wait_asleep(environment: MutableMapping[str, str]) -> None:
    """Let threads that wait for others sleep, unless the environment says how they are to wait.

    By default OpenMP's threads spin at the end of each parallel region. Where another program has the core of
    the thread that they wait for, they keep it from getting one: training with two threads on two busy cores
    becomes slower than with one.

    OpenMP reads the variable once, when it is loaded, so this has to come before `import torch`; processes
    that are started later inherit it.

    Args:
        environment: of this process, os.environ.
    """
    if not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
