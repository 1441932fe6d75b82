"""A game of TextArena for one player as a task suite: a task is a seed."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from hgpo.envs.base import Info, Task
from hgpo.envs.bridges.seeds import SPLITS, choose_seeds, texts_of_play
from hgpo.envs.commands import ANY_TEXT, listed
from hgpo.envs.plain import NOT_POSSIBLE
from hgpo.envs.setting_checks import require_choice, require_range
from hgpo.errors import SettingError, in_one_line

T = TypeVar("T")

DIRECTIONS = ("[up]", "[down]", "[left]", "[right]")
COMMANDS: dict[str, tuple[str, ...]] = {
    "2048": DIRECTIONS,
    "FrozenLake": DIRECTIONS,
    "Sokoban": DIRECTIONS,
    "TowerOfHanoi": ("[A B]", "[A C]", "[B A]", "[B C]", "[C A]", "[C B]"),
}
"""All commands of games that have few, by the game's name up to its version."""
STATES_SEARCHED = 300
"""A walkthrough is searched for in this number of states."""
GAME_BEGINS = "the game begins."
"""The observation where a game says nothing but its rules, which are the instruction."""


@dataclass(frozen=True)
class TextArenaSuite:
    """A game of TextArena for one player, such as FrozenLake-v0, Sokoban-v0 or GuessTheNumber-v0."""

    id: str = "FrozenLake-v0"
    """The game's name in TextArena's registry."""
    commands: tuple[str, ...] = ()
    """All commands of the game; by default those that are known here, and any text in other games."""
    max_steps: int = 50
    """An episode is truncated after this number of commands; the game may end it earlier."""
    held_out: int = 100
    """Number of held-out tasks."""
    reward_scale: float = 10.0
    """The game's reward, at most 1, is multiplied by this number."""
    state_key: Literal["observation", "game_state"] = "observation"
    """What makes two states the same to the estimator: the text that the agent reads, or what the game keeps,
    which may be hidden from the agent."""

    name: ClassVar[str] = "textarena"

    def __post_init__(self) -> None:
        require_range(self, "held_out", 1)
        require_range(self, "max_steps", 1)
        require_choice(self, "state_key", ("observation", "game_state"))

    @property
    def splits(self) -> tuple[str, ...]:
        """Training and held-out tasks."""
        return SPLITS

    @property
    def description(self) -> str:
        """The game's name, and the settings that results depend on."""
        return f"{self.id}, state key {self.state_key}, at most {self.max_steps} steps"

    @property
    def listed_commands(self) -> tuple[str, ...]:
        """The commands that the agent may give."""
        return self.commands or COMMANDS.get(self.id.partition("-v")[0], ANY_TEXT)

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Tasks of a split; `seed` draws those of training."""
        environment = self.make()

        def task(number: int) -> Task:
            environment.start(number)
            return Task(f"{self.id}/{number}", self.id, environment.rules, number)

        return [task(number) for number in choose_seeds(split, count, seed, self.held_out)]

    def make(self) -> TextArenaEnvironment:
        """A new environment.

        Raises:
            SettingError: if TextArena has no such game, or cannot make it here.
        """
        import textarena

        # The registry's other versions of a game repeat in each observation all that was said before.
        name = self.id if self.id.endswith("-raw") else f"{self.id}-raw"
        try:
            return TextArenaEnvironment(self, textarena.make(name))
        except LookupError:
            raise SettingError(
                f"--env.id {self.id} needs data of NLTK that is not here: python -m nltk.downloader words "
                "averaged_perceptron_tagger_eng"
            ) from None
        # A game may need a server or a file that is not here, and each fails in its own way.
        except Exception as error:
            raise SettingError(f"--env.id {self.id}: {in_one_line(error)}") from None

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """The shortest way to win, found by trying all commands; None for any text or many states."""
        if self.listed_commands == ANY_TEXT:
            return None
        start = self.make()
        _, info = start.reset(task)
        waiting: deque[tuple[TextArenaEnvironment, tuple[str, ...]]] = deque([(start, ())])
        seen = {_place(info)}
        while waiting and len(seen) < STATES_SEARCHED:
            here, before = waiting.popleft()
            for command in self.listed_commands:
                there, commands = here.fork(), (*before, command)
                _, _, terminated, truncated, info = there.step(command)
                if info.won:
                    return commands
                if not (terminated or truncated or _place(info) in seen):
                    seen.add(_place(info))
                    waiting.append((there, commands))
        return None

    def texts(self) -> Iterator[str]:
        """What is shown in some training tasks."""
        yield GAME_BEGINS
        yield from texts_of_play(self)


class TextArenaEnvironment:
    """An episode of a game."""

    def __init__(self, suite: TextArenaSuite, game: Any) -> None:
        """Nothing is started yet; `game` is the game of TextArena."""
        self.suite, self.game = suite, game
        self.steps, self.rules, self.text = 0, "", ""
        self.chance: Any = None
        """The state of Python's generator of random numbers, from which TextArena draws, in this episode."""

    def start(self, seed: int) -> None:
        """Start the game.

        Raises:
            SettingError: if it is not a game for one player, or if it cannot be started.
        """
        import textarena

        self.chance = random.Random(seed).getstate()
        try:
            self._draw(lambda: self.game.reset(num_players=1, seed=seed))
        except Exception as error:
            raise SettingError(f"--env.id {self.suite.id}: {in_one_line(error)}") from None
        if not isinstance(self.game.state, textarena.SinglePlayerState):
            raise SettingError(f"--env.id {self.suite.id} is not a game for one player: choose another one")
        if self.suite.state_key == "game_state" and not self.game.state.game_state:
            raise SettingError(f"--env.state-key game_state: {self.suite.id} keeps none: take observation")
        _, messages = self.game.get_observation()
        prompt = textarena.ObservationType.PROMPT
        self.rules = "\n".join(text for _, text, kind in messages if kind == prompt).strip()
        self.text = _said(messages) or GAME_BEGINS

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task; its own seed determines all that is random."""
        self.steps = 0
        self.start(task.game)
        return self.text, self._info()

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Make a move; one that the game calls invalid changes nothing, and its reason is shown."""
        self.steps += 1
        truncated = self.steps >= self.suite.max_steps
        found = listed(command, self.suite.listed_commands)
        if found is None:
            return f"{NOT_POSSIBLE}\n{self.text}", 0.0, False, truncated, self._info()
        # A second invalid move in a row would end the game, and with it what the agent can learn from it.
        before = copy.deepcopy(self.game), self.chance
        ended, _ = self._draw(lambda: self.game.step(found[1]))
        said = _said(self.game.get_observation()[1])
        state = self.game.state
        if state.error_count or state.game_info[0]["invalid_move"]:
            self.game, self.chance = before
            return f"{said}\n{self.text}", 0.0, False, truncated, self._info()
        self.text = said
        if not ended:
            return self.text, 0.0, False, truncated, self._info()
        result = float(state.rewards[0])
        self.text = f"{said}\n{state.game_info[0].get('reason') or ''}".strip()
        return self.text, self.suite.reward_scale * result, True, False, self._info(result)

    def fork(self) -> TextArenaEnvironment:
        """Another environment in the same state."""
        twin = copy.copy(self)
        twin.game = copy.deepcopy(self.game)
        return twin

    def _info(self, result: float | None = None) -> Info:
        keys: dict[str, Hashable] = {"observation": self.text}
        if kept := self.game.state.game_state:
            keys["game_state"] = _as_key(kept)
        commands = self.suite.listed_commands if result is None else ()
        return Info(
            commands,
            keys[self.suite.state_key],
            won=result is not None and result >= 1,
            score=None if result is None else min(max(result, 0.0), 1.0),
            state_keys=keys,
        )

    def _draw(self, call: Callable[[], T]) -> T:
        """The result of a call that draws random numbers, from a sequence of this episode's own."""
        outside = random.getstate()
        random.setstate(self.chance)
        try:
            return call()
        finally:
            self.chance = random.getstate()
            random.setstate(outside)


def _place(info: Info) -> Hashable:
    """What tells states apart in a search."""
    return info.state_keys.get("game_state", info.state_keys["observation"])


def _said(messages: Sequence[tuple[Any, str, Any]]) -> str:
    """What the game said, without its rules and without what the player did."""
    from textarena import ObservationType

    left_out = (ObservationType.PROMPT, ObservationType.PLAYER_ACTION)
    return "\n".join(text.strip() for _, text, kind in messages if kind not in left_out).strip()


def _as_key(value: Any) -> Hashable:
    """A game's state as a value that can be compared and hashed."""
    if isinstance(value, Mapping):
        return tuple((name, _as_key(inner)) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_as_key, value))
    if isinstance(value, set | frozenset):
        return frozenset(map(_as_key, value))
    return value if isinstance(value, str | int | float | None) else repr(value)
