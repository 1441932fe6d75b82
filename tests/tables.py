"""Step tables for the tests: a short spelling for hand-made ones, a hypothesis strategy for any."""

from itertools import product
from typing import Any

from hypothesis import strategies as st

from hgpo import StepTable

Rows = list[dict[str, Any]]


def walks(
    *trajectories: tuple[str, list[float]], task: str = "task", valid: list[bool] | None = None
) -> StepTable:
    """A table with one trajectory per pair: its states, one letter each, and its rewards."""
    rows = walk_rows(*trajectories, task=task)
    if valid is not None:
        for row, of_row in zip(rows, valid, strict=True):
            row["action_valid"] = of_row
    return StepTable.from_rows(rows)


def walk_rows(*trajectories: tuple[str, list[float]], task: str = "task") -> Rows:
    return [
        {
            "task_id": task,
            "trajectory_id": f"{task}/{number}",
            "step_index": step,
            "state_key": state,
            "reward": reward,
        }
        for number, (states, rewards) in enumerate(trajectories)
        for step, (state, reward) in enumerate(zip(states, rewards, strict=True))
    ]


STEPS = list(product("ABC", [0.0, 0.0, 1.0, -0.5, 10.0, 0.1, 0.2, -0.3], [False, True], "xy"))
"""State, reward, whether the action is valid, and action, as one draw: four take longer than most estimators do."""


@st.composite
def any_rows(draw: st.DrawFn, min_tasks: int = 0) -> Rows:
    """Up to three tasks of up to four walks over three states, which all tasks share, by two actions; rows in any order."""
    walks = st.lists(st.lists(st.sampled_from(STEPS), min_size=1, max_size=5), min_size=1, max_size=4)
    tasks = draw(st.lists(walks, min_size=min_tasks, max_size=3))
    rows = [
        {
            "task_id": f"task-{task}",
            "trajectory_id": f"task-{task}/rollout-{rollout}",
            "step_index": time,
            "state_key": state,
            "reward": reward,
            "action_valid": valid,
            "action": action,
        }
        for task, rollouts in enumerate(tasks)
        for rollout, steps in enumerate(rollouts)
        for time, (state, reward, valid, action) in enumerate(steps)
    ]
    return draw(st.permutations(rows))
