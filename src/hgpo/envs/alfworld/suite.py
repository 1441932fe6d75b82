"""ALFWorld as a benchmark: the official games, played by a native engine with the reference's texts."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

from hgpo.envs.alfworld.expert import goal_of, next_command, solve
from hgpo.envs.alfworld.games import (
    INCOMPLETE,
    FoundGames,
    GameFile,
    data_folder,
    find_games,
)
from hgpo.envs.alfworld.releases import named, wording_of
from hgpo.envs.base import Reading, Task
from hgpo.envs.drawing import choose_tasks, drawn_in_rounds, require_split
from hgpo.envs.episode import Transition
from hgpo.envs.readings import random_readings
from hgpo.envs.state_keys import EpisodeKeys, StateKeyName
from hgpo.envs.textgame.deeds import deeds
from hgpo.envs.textgame.engine import NOTHING_HAPPENS, Episode, Game
from hgpo.envs.textgame.environment import GameEnvironment, Rules
from hgpo.envs.textgame.task_types import CLEAN, COOL, HEAT, LIGHT, PICK, SPLITS, TWO
from hgpo.errors import SettingError

EPISODES = 4096
"""Number of the expert's episodes that are kept, so that its next command costs one step of the engine."""

TITLES = {
    PICK: ("put a {thing} in {target}", "put some {thing} on {target}"),
    LIGHT: ("look at {thing} under the {target}", "examine the {thing} with the {target}"),
    CLEAN: ("put a clean {thing} in {target}", "clean some {thing} and put it in {target}"),
    HEAT: ("put a hot {thing} in {target}", "heat some {thing} and put it in {target}"),
    COOL: ("put a cool {thing} in {target}", "cool some {thing} and put it in {target}"),
    TWO: ("put two {thing} in {target}", "find two {thing} and put them in {target}"),
}
"""The wordings of each task type in the games."""

_TASK = re.compile(r"Your task is to: (.*?)\.?\s*$")


@dataclass(frozen=True)
class AlfworldSuite:
    """The official ALFWorld games of six task types: train, valid_seen and valid_unseen."""

    name: ClassVar[str] = "alfworld"
    data: str | None = None
    """Folder of the games, as alfworld-download writes it; None uses $ALFWORLD_DATA or, if that is not set,
    ~/.cache/alfworld."""
    max_steps: int = 50
    """An episode is truncated after this many commands."""
    success_reward: float = 10.0
    """The reward of the command that completes the task; every other command gives 0."""
    state_key: StateKeyName = "observation"
    """The key by which the estimator compares states; the paper uses the observation."""
    keep_key_if_unchanged: bool = True
    """Whether a command that is not understood leaves the state key unchanged. In the paper's code
    "Nothing happens." is a separate state."""
    cache_size: int = 256
    """Number of compiled games kept in memory, so that the rollouts of one task share a game."""

    @cached_property
    def _folder(self) -> Path:
        return data_folder(self.data)

    @cached_property
    def _found(self) -> Callable[[str], FoundGames]:
        # Only one split is kept: searching thousands of training games takes seconds.
        return cache(lambda split: find_games(self._folder, split))

    @cached_property
    def _compiled(self) -> Callable[[GameFile], Game]:
        return lru_cache(self.cache_size)(GameFile.compile)

    @cached_property
    def _episode(self) -> Callable[[GameFile, tuple[str, ...]], Episode]:
        """The game after some commands, continued from a kept episode if there is one."""

        def played(game: GameFile, commands: tuple[str, ...]) -> Episode:
            if not commands:
                return Episode(self.compiled(game))
            episode = kept(game, commands[:-1]).fork()
            episode.step(commands[-1])
            return episode

        kept = lru_cache(EPISODES)(played)
        return kept

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, in distribution, out of distribution."""
        return SPLITS

    def games(self, split: str) -> tuple[GameFile, ...]:
        """All games of a split, in the order of their identifiers."""
        return self._split(split).games

    def _split(self, split: str) -> FoundGames:
        require_split(split, SPLITS)
        return self._found(split)

    @property
    def description(self) -> str:
        """The release of the games, on whose commands and texts results depend, and the games left out."""
        wordings: Counter[str] = Counter()
        incomplete: Counter[str] = Counter()
        for split in map(self._split, SPLITS):
            wordings.update(split.wordings)
            incomplete.update({reason: split.left_out.get(reason, 0) for reason in INCOMPLETE})
        left_out = ", ".join(f"{count:,} with {reason}" for reason, count in incomplete.items() if count)
        return f"alfworld, {named(wordings)}" + (f"; left out: {left_out}" if left_out else "")

    def game(self, identifier: str) -> GameFile:
        """The game SPLIT/GAME/TRIAL, even if it is not part of the benchmark.

        Raises:
            SettingError: if there is no such game.
        """
        game = GameFile(identifier, self._folder / identifier)
        if not (game.folder / "game.tw-pddl").is_file():
            raise SettingError(f"no game {identifier} in {self._folder}")
        return game

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split; training tasks are drawn by `seed`, each once before any is repeated.

        Raises:
            SettingError: if the split has no games, or a held-out split has fewer than `count`.
        """
        found = self._split(split)
        if not found.games:
            raise SettingError(found.why_empty())
        games = choose_tasks(
            split,
            SPLITS,
            count,
            draw=lambda n: drawn_in_rounds(found.games, n, random.Random(f"alfworld training {seed}")),
            fixed=lambda: _shuffled(found.games, split),
        )
        return [self.task(game) for game in games]

    def task(self, game: GameFile) -> Task:
        """The task of a game."""
        said = _TASK.search(Episode(self.compiled(game)).observation)
        return Task(game.id, game.kind, said[1] if said else game.kind, game)

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """The commands of the expert, which knows the whole state; None if it does not win."""
        return solve(self.compiled(task.game), goal_of(task.game.about))

    def next_command(self, task: Task, commands: Sequence[str]) -> str | None:
        """The expert's next command after these commands; None if it has none."""
        return next_command(self._episode(task.game, tuple(commands)), goal_of(task.game.about))

    def make(self) -> GameEnvironment:
        """A new environment; all environments of one suite share its compiled games."""
        return GameEnvironment(
            Rules(
                compiled=lambda task: self.compiled(task.game),
                max_steps=self.max_steps,
                success_reward=self.success_reward,
                new_keys=lambda: EpisodeKeys(self.state_key, self.keep_key_if_unchanged),
            )
        )

    def readings(self, count: int, seed: int) -> Iterator[Reading]:
        """Random play of `count` training games, with titles in the words of instructions."""

        def titles(steps: Sequence[Transition[Any]]) -> Iterator[tuple[int, str]]:
            for deed in deeds(steps):
                for title in TITLES[deed.kind]:
                    yield deed.steps, title.format(thing=deed.thing, target=deed.target)

        return random_readings(self, count, seed, titles)

    def compiled(self, game: GameFile) -> Game:
        """The game, compiled; the most recently used games are kept."""
        return self._compiled(game)

    def texts(self) -> Iterator[str]:
        """The kinds of things in all games, their tasks, and the whole grammar of each release, including its
        syntax."""
        grammars: dict[str, str] = {}
        kinds: set[str] = set()
        for split in SPLITS:
            for game in self.games(split):
                data = game.read()
                grammar = str(data.get("grammar"))
                words = set(str(data.get("pddl_problem")).lower().split())
                kinds.update(word.strip("()").partition("_bar_")[0] for word in words if "_bar_" in word)
                grammars[wording_of(grammar)] = grammar
                yield from re.findall(r"Your task is to: [^\"]*", grammar)
        yield from (grammar.replace("\\n", " ") for grammar in grammars.values())
        yield NOTHING_HAPPENS
        for kind in kinds:
            yield f"{kind} {kind}basin"
        yield from map(str, range(100))


def _shuffled(games: Sequence[GameFile], split: str) -> list[GameFile]:
    """The games in a fixed order in which the first few include all task types and rooms."""
    ordered = list(games)
    random.Random(f"alfworld {split}").shuffle(ordered)
    return ordered
