"""Suites of generated games: a seed gives a task, and no held-out task can be drawn for training.

A checksum of its game assigns every game of the training size to training or to the held-out split. Games of
the split "larger" have another size. So the three splits are disjoint whatever the seeds.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar

from hgpo.envs.base import Task
from hgpo.envs.drawing import choose_tasks
from hgpo.envs.rules import PlayRules, RuleEnvironment, RuleGame, state_after
from hgpo.envs.setting_checks import require_range
from hgpo.envs.state_keys import StateKeyName

TRAIN, HELD_OUT, LARGER = SPLITS = ("train", "held_out", "larger")
"""Training, a split of the same size, and a split of larger games."""
TRAINING_NUMBERS = 10**9
"""Training tasks are numbered below this."""
ONE_HELD_OUT_IN = 4
"""One of this many games of the training size is held out."""


@dataclass(frozen=True)
class GeneratedSuite(ABC):
    """What suites of generated games have in common."""

    name: ClassVar[str]
    max_steps: int = 20
    """An episode is truncated after this many commands."""
    success_reward: float = 10.0
    """The reward of the command that achieves the task; every other command gives 0."""
    state_key: StateKeyName = "observation"
    """The key by which the estimator compares states; the published methods use the observation."""
    split_size: int = 120
    """Number of tasks in each held-out split."""

    def __post_init__(self) -> None:
        require_range(self, "split_size", 1)
        require_range(self, "max_steps", 1)

    @abstractmethod
    def draw(self, rng: random.Random, larger: bool) -> Any:
        """What there is to play in a task of the training size, or in a larger one."""

    @abstractmethod
    def identity(self, drawn: Any) -> Hashable:
        """Equal in two games that are to be in the same split; its `repr` decides which."""

    @abstractmethod
    def kind(self, drawn: Any) -> str:
        """The task type."""

    @abstractmethod
    def instruction(self, drawn: Any) -> str:
        """The instruction shown to the agent."""

    @abstractmethod
    def game(self, task: Task) -> RuleGame[Any]:
        """The rules of a task, of what was drawn for it (`Task.game`) and of the settings."""

    @abstractmethod
    def solution(self, task: Task, state: Any) -> tuple[str, ...] | None:
        """The commands with which an expert wins from a state of the task; None if there are none."""

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """Texts that together contain every word that can be shown."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, held-out tasks of the same size, and larger ones."""
        return SPLITS

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split; training tasks are drawn by `seed`, all different."""
        numbers = choose_tasks(
            split,
            SPLITS,
            count,
            draw=lambda wanted: _training_numbers(f"{self.name} training {seed}", wanted),
            fixed=lambda: range(self.split_size),
        )
        return [self.task(split, number) for number in numbers]

    def task(self, split: str, number: int) -> Task:
        """The task with a number in a split, which together with the settings determines everything."""
        rng = random.Random(f"{self.name} {split} {number}")
        while True:
            drawn = self.draw(rng, split == LARGER)
            if split == LARGER or is_held_out(self.identity(drawn)) == (split == HELD_OUT):
                return Task(f"{split}/{number}", self.kind(drawn), self.instruction(drawn), drawn)

    def make(self) -> RuleEnvironment:
        """A new environment."""
        return RuleEnvironment(PlayRules(self.game, self.max_steps, self.success_reward, self.state_key))

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """What the expert does from the start."""
        return self.solution(task, self.game(task).start())

    def next_command(self, task: Task, commands: Sequence[str]) -> str | None:
        """The expert's next command after these commands; None where the task can no longer be won."""
        left = self.solution(task, state_after(self.game(task), commands))
        return left[0] if left else None


def is_held_out(identity: Hashable) -> bool:
    """Whether games with this identity are held out from training: one in `ONE_HELD_OUT_IN` is."""
    return blake2b(repr(identity).encode(), digest_size=1).digest()[0] % ONE_HELD_OUT_IN == 0


def _training_numbers(seed: str, count: int) -> list[int]:
    """Distinct numbers of training tasks; the first ones are the same for every count."""
    rng = random.Random(seed)
    numbers: dict[int, None] = {}
    while len(numbers) < count:
        numbers[rng.randrange(TRAINING_NUMBERS)] = None
    return list(numbers)
