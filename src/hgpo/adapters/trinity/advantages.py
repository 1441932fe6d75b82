"""The advantages of any estimator for the experiences of Trinity's explorer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from trinity.algorithm.advantage_fn.advantage_fn import AdvantageFn  # pyright: ignore[reportMissingImports]
from trinity.buffer.operators.experience_operator import (  # pyright: ignore[reportMissingImports]
    ExperienceOperatorV1,
)

from hgpo.adapters.step_records import shown_estimator, step_diagnostics
from hgpo.errors import SettingError
from hgpo.rollouts.episodes import STEP_COLUMNS
from hgpo.steps import StepTable

INFO_KEYS = {"state_key": "env_state_hash", "reward": "step_reward"}
"""The names of columns in an experience's `info` that Trinity's own workflows and GiGPO use."""


class StepwiseAdvantageFn(AdvantageFn, ExperienceOperatorV1):
    """Trinity's `algorithm.advantage_fn`: all experiences of an explore step in, their advantages out.

        algorithm:
          algorithm_type: gigpo
          advantage_fn: hgpo.adapters.trinity.StepwiseAdvantageFn
          advantage_fn_args: {estimator: hgpo, history_length: 2, discount: 0.95}

    An experience is one step. Its task, trajectory and number are those of its `eid`, its state and reward
    `info["env_state_hash"]` and `info["step_reward"]`, as for Trinity's GiGPO. Other columns of a `StepTable`
    are taken from `info` if every experience has them.
    """

    def __init__(self, estimator: str = "hgpo", **settings: Any) -> None:
        """Create the estimator.

        Args:
            estimator: the name of an estimator, MODULE:CLASS or FILE.py:CLASS.
            settings: its settings by name.

        Raises:
            SettingError: if there is no such estimator, it needs a critic, or a setting is invalid.
        """
        self.estimator = shown_estimator(estimator, settings, None, stack="this part of Trinity")

    @classmethod
    def default_args(cls) -> dict[str, Any]:
        """The arguments where a configuration has none."""
        return {"estimator": "hgpo"}

    @classmethod
    def compute_in_trainer(cls) -> bool:
        """False: the pipeline computes advantages, because it sees the trajectories of a task together."""
        return False

    def __call__(self, exps: Any, **kwargs: Any) -> Any:
        """Refused: the trainer computes no advantages (see `compute_in_trainer`).

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            "these advantages are computed in Trinity's experience pipeline, not in its trainer"
        )

    async def process(self, exps: list[Any]) -> tuple[list[Any], dict[str, float]]:
        """The experiences with `advantages` and `returns` on the tokens that the model wrote, and metrics.

        Raises:
            SettingError: if an experience has no state or reward.
            ValueError: if the experiences are not the steps of whole trajectories.
        """
        if not exps:
            return [], {}
        steps = experience_table(exps)
        advantages = self.estimator(steps)
        for experience, advantage in zip(exps, advantages.tolist(), strict=True):
            experience.advantages = experience.action_mask.float() * advantage
            experience.returns = experience.advantages.clone()
        figures = step_diagnostics(steps, advantages, self.estimator)
        return exps, {f"hgpo/{name}": float(value) for name, value in figures.items()}


def experience_table(exps: Sequence[Any]) -> StepTable:
    """The steps of Trinity's experiences, in their order.

    Args:
        exps: the experiences; each is one step.

    Raises:
        SettingError: if an experience has no state or reward.
    """
    for experience in exps:
        for key in INFO_KEYS.values():
            if key not in experience.info:
                raise SettingError(
                    f"experience {experience.eid} has no info[{key!r}]: the workflow must set it for every "
                    "step, as StepWiseAlfworldWorkflow does"
                )
    columns = {
        name: [experience.info[key] for experience in exps]
        for name in STEP_COLUMNS
        if all((key := INFO_KEYS.get(name, name)) in experience.info for experience in exps)
    }
    return StepTable(
        task_id=[experience.eid.tid for experience in exps],
        trajectory_id=[experience.eid.rid for experience in exps],
        step_index=[experience.eid.step for experience in exps],
        **{"action": [_action(experience.response_text or "") for experience in exps], **columns},
    )


def _action(response: str) -> str:
    """The text in the first pair of action tags, as Trinity's workflows read it; without tags all text."""
    found = re.search(r"<action>(.*?)</action>", response, re.DOTALL)
    return found[1].strip() if found else response
