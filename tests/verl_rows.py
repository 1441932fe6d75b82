"""Rows as the agent loop of verl's plugin returns them."""

from __future__ import annotations

from hgpo.adapters.verl.rows import StepRow


def row(task: str = "t", rollout: int = 0, step: int = 0, **values: object) -> StepRow:
    known: dict[str, object] = {
        **dict(task=task, trajectory=f"{task}_{rollout}", step=step, state_key=("s", step)),
        **dict(observation="o", action="a", action_valid=True, reward=0.0, terminated=False),
        **dict(truncated=False, total=0.0, won=False, score=None, restarts=0),
    }
    return StepRow(**{**known, **values})  # pyright: ignore[reportArgumentType]
