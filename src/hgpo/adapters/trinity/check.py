"""Checks that the functions of Trinity-RFT that the adapter implements or calls are as it expects."""

from __future__ import annotations

from collections.abc import Iterator

from hgpo.adapters.hooks import Finding, Hook, check_hooks

HOOKS = (
    Hook(
        "trinity.buffer.operators.experience_operator:ExperienceOperatorV1.process",
        ("self", "exps"),
        "advantages",
    ),
    Hook("trinity.algorithm.advantage_fn.advantage_fn:AdvantageFn.compute_in_trainer", (), "advantages"),
    Hook("trinity.algorithm.advantage_fn.advantage_fn:AdvantageFn.default_args", (), "advantages"),
    Hook("trinity.common.experience:EID", ("batch", "task", "run", "step", "suffix"), "rows"),
    Hook(
        "trinity.common.workflows.workflow:Workflow.__init__",
        ("self", "task", "model", "auxiliary_models"),
        "the workflow",
    ),
    Hook("trinity.common.workflows.workflow:Workflow.run_async", ("self",), "the workflow"),
)
"""The functions of Trinity that the adapter depends on, with their parameters in the supported versions."""


def check() -> Iterator[Finding]:
    """Run all checks one after the other; see `check_hooks`."""
    return check_hooks(HOOKS, "trinity-rft")
