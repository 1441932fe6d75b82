"""Reward shaping: a penalty for responses near the length limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgpo.steps import StepTable


@dataclass(frozen=True)
class OverlongShaping:
    """DAPO's soft penalty for responses near the length limit; off by default.

        0                                 |y| ≤ L − b
        −c (|y| − (L − b)) / b            L − b < |y| ≤ L

    |y| is the response's length in tokens and L the limit; a truncated response gets −c. The penalty is added
    to the reward of the step. Source: arXiv 2503.14476 (eq. 13).
    """

    buffer: int = 0
    """b: number of tokens before the limit over which the penalty grows; 0 switches it off. DAPO uses 4,096
    of 20,480."""
    penalty: float = 1.0
    """c: the penalty at the limit, in units of reward; 1 in DAPO, where a correct answer has reward 1."""

    def __post_init__(self) -> None:
        if self.buffer < 0 or not 0 <= self.penalty < float("inf"):
            raise ValueError(
                f"buffer {self.buffer}, penalty {self.penalty}: expected tokens and reward of at least 0"
            )

    def __call__(self, steps: StepTable, max_response_tokens: int) -> StepTable:
        """The steps with shaped rewards.

        Args:
            steps: steps with response_tokens.
            max_response_tokens: L, the length limit.
        """
        if self.buffer == 0:
            return steps
        assert steps.response_tokens is not None
        length = np.array([len(response) for response in steps.response_tokens])
        excess = np.clip(length - (max_response_tokens - self.buffer), 0, self.buffer)
        return steps.with_rewards(steps.reward - self.penalty * excess / self.buffer)
