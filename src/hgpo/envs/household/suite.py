"""The household games as a benchmark: splits, environments and the words they use."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import ClassVar

from hgpo.envs.base import Reading, Task
from hgpo.envs.drawing import choose_tasks
from hgpo.envs.household.generator import VARIANTS, Variant, generate
from hgpo.envs.household.goals import RESULTS, Goal, instruction
from hgpo.envs.household.words import RECEPTACLES, THINGS, in_new_words
from hgpo.envs.readings import random_readings
from hgpo.envs.setting_checks import require_choice, require_range
from hgpo.envs.state_keys import EpisodeKeys, StateKeyName
from hgpo.envs.textgame.deeds import deeds
from hgpo.envs.textgame.engine import TEXTS, Game, compile_game
from hgpo.envs.textgame.environment import GameEnvironment, Rules
from hgpo.envs.textgame.task_types import KINDS, LIGHT, SPLITS

TRAINING_NUMBERS = 10**9
"""Training games are numbered below this."""
READING_STEPS = 40
"""Number of steps per game of random play for reading texts; starting a game takes most of the time."""


@dataclass(frozen=True)
class HouseholdSuite:
    """Short household games of ALFWorld's six task types, in this project's rooms, generated in memory."""

    name: ClassVar[str] = "household"
    max_steps: int = 15
    """An episode is truncated after this many commands."""
    success_reward: float = 10.0
    """The reward of the command that completes the task; every other command gives 0."""
    state_key: StateKeyName = "full_state"
    """The key by which the estimator compares states; the published method uses the observation."""
    split_size: int = 120
    """Number of games in each held-out split; with a multiple of six all task types are equally frequent."""
    variant: Variant = "usual"
    """usual: the benchmark. The others measure what carries over: larger_rooms have twice as many
    receptacles, and new_words has other words for all portable things."""
    cache_size: int = 64
    """Number of compiled games kept in memory, so that the rollouts of one task share a game."""

    def __post_init__(self) -> None:
        require_range(self, "split_size", 1)
        require_choice(self, "variant", VARIANTS)

    @cached_property
    def _compiled(self) -> Callable[..., Game]:
        # Games are cached by their texts, because games with the same identifier may differ.
        return lru_cache(self.cache_size)(lambda *texts: compile_game(dict(zip(TEXTS, texts, strict=True))))

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, a split in the training rooms, and a split in rooms that are never trained in."""
        return SPLITS

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split; training tasks are drawn by `seed`, all six types equally often."""
        numbers = choose_tasks(
            split,
            SPLITS,
            count,
            draw=lambda wanted: _training_numbers(wanted, seed),
            fixed=lambda: range(self.split_size),
        )
        prefix = "" if self.variant == "usual" else f"{self.variant}/"
        return [generate(f"{prefix}{split}/{number}") for number in numbers]

    def make(self) -> GameEnvironment:
        """A new environment; all environments of one suite share its compiled games."""
        return GameEnvironment(
            Rules(
                compiled=self.compiled,
                max_steps=self.max_steps,
                success_reward=self.success_reward,
                new_keys=lambda: EpisodeKeys(self.state_key, keep_if_unchanged=True),
                # The engine's own "Nothing happens." is the only text with a capital letter.
                say=str.lower,
            )
        )

    def walkthrough(self, task: Task) -> tuple[str, ...]:
        """The shortest walkthrough for an agent that must search for things."""
        return tuple(task.game["walkthrough"])

    def readings(self, count: int, seed: int) -> Iterator[Reading]:
        """Random play of `count` training games, with titles in the words of instructions."""
        longer = replace(self, max_steps=READING_STEPS)
        return random_readings(
            longer,
            count,
            seed,
            lambda steps: (
                (deed.steps, instruction(Goal(deed.kind, deed.thing, deed.target))) for deed in deeds(steps)
            ),
        )

    def compiled(self, task: Task) -> Game:
        """The task's game, compiled; the most recently used games are kept."""
        return self._compiled(*(task.game[name] for name in TEXTS))

    def texts(self) -> Iterator[str]:
        """Sentences, commands and instructions that contain every word of every game."""
        return map(in_new_words if self.variant == "new_words" else str, self._usual_texts())

    def _usual_texts(self) -> Iterator[str]:
        yield "in the room: nothing. holding nothing."
        yield "nothing happens."
        for kind, row in RECEPTACLES.items():
            yield f"at {kind}: nothing. go to {kind}"
            if row.closed:
                yield f"at {kind}: closed. open {kind}"
            for goal_kind in KINDS:
                if goal_kind != LIGHT:
                    yield instruction(Goal(goal_kind, "mug", kind))
                    yield instruction(Goal(goal_kind, "apple", kind))
        for thing in THINGS:
            yield f"take {thing}, put {thing}"
            yield instruction(Goal(LIGHT, thing, "lamp"))
        for treatment, result in RESULTS.items():
            yield f"{treatment} mug. holding {result} mug 1, mug 2, mug 3."
        yield "turn on lamp. at shelf: lit lamp."


def _training_numbers(count: int, seed: int) -> list[int]:
    """Distinct numbers of training games; their task types come in shuffled rounds of six."""
    rng = random.Random(f"household training {seed}")
    numbers: dict[int, None] = {}
    kinds: list[int] = []
    while len(numbers) < count:
        kinds = kinds or rng.sample(range(len(KINDS)), len(KINDS))
        number = rng.randrange(TRAINING_NUMBERS // len(KINDS)) * len(KINDS) + kinds[-1]
        if number not in numbers:
            numbers[number] = None
            kinds.pop()
    return list(numbers)
