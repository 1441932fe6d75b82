"""Household games for the tests of training stacks: episodes of different lengths, all with rewards."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from hgpo.envs import HouseholdSuite

LENGTHS = (1, 2, 3, 3, 2, 1, 1, 2)
"""Steps of each trajectory of a generation: 15 in all; of two processes one plays 9 and the other 6."""
NUMBERS = itertools.count(4 * int(os.environ.get("RANK", "0")))


@dataclass(frozen=True)
class UnevenHousehold(HouseholdSuite):
    """Household games of different lengths, with a reward for any answer."""

    name: ClassVar[str] = "uneven"

    def make(self) -> Any:
        return Paying(replace(HouseholdSuite(), max_steps=LENGTHS[next(NUMBERS) % 8]).make())


class Paying:
    """An environment with an additional reward of 0, 1 or 2, the remainder of the answer's length by 3.

    An episode that ends at its step limit is won if its last reward is 1.
    """

    def __init__(self, environment: Any) -> None:
        self.reset, self.environment = environment.reset, environment

    def step(self, command: str) -> Any:
        observation, reward, terminated, truncated, info = self.environment.step(command)
        extra = len(command) % 3
        return observation, reward + extra, terminated, truncated, replace(info, won=truncated and extra == 1)
