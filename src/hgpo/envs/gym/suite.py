"""A Gymnasium environment as a task suite: a task is a seed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from hgpo.envs.base import Info, Task
from hgpo.envs.commands import listed
from hgpo.envs.drawing import choose_tasks
from hgpo.envs.gym.views import View, find_view
from hgpo.envs.plain import NOT_POSSIBLE
from hgpo.envs.shown_texts import shown_texts
from hgpo.errors import SettingError

HELD_OUT_SEEDS = 10**6
"""Seeds of training tasks are below this number, those of held-out tasks begin with it."""
TASKS_READ = 200
"""Tasks of each split that are played for the words they show."""


@dataclass(frozen=True)
class GymSuite:
    """A Gymnasium environment with discrete actions, MiniGrid's and BabyAI's among them."""

    id: str = "BabyAI-GoToLocal-v0"
    """The environment's name in Gymnasium's registry; a package of environments may stand before it, as in
    my_package:Name-v0."""
    view: str = "minigrid"
    """How it is put into words: minigrid, rendered (the text that the environment prints), or MODULE:CLASS or
    FILE.py:CLASS of your own."""
    max_steps: int | None = None
    """An episode is truncated after this number of commands; None: as the environment does."""
    held_out: int = 100
    """Number of held-out tasks."""
    reward_scale: float = 10.0
    """Rewards are multiplied by this number."""
    state_key: Literal["observation", "full_state"] = "observation"
    """What makes two states the same to the estimator: the text that the agent reads, or all of the state."""

    name: ClassVar[str] = "gym"
    splits: ClassVar[tuple[str, ...]] = ("train", "held_out")

    def __post_init__(self) -> None:
        if self.held_out < 1 or (self.max_steps is not None and self.max_steps < 1):
            raise SettingError(
                f"--env.held-out is {self.held_out}, --env.max-steps {self.max_steps}: expected 1 or more"
            )
        if self.state_key not in ("observation", "full_state"):
            raise SettingError(f"--env.state-key {self.state_key}: choose from observation, full_state")

    @property
    def description(self) -> str:
        """The environment's name, and the settings that results depend on."""
        return f"{self.id} in the view {self.view}, state key {self.state_key}"

    @cached_property
    def _view(self) -> View:
        return find_view(self.view)

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Tasks of a split, each a seed of the environment; `seed` draws those of training."""
        rng = random.Random(f"{self.id} {seed}")
        seeds = choose_tasks(
            split,
            self.splits,
            count,
            draw=lambda n: [rng.randrange(HELD_OUT_SEEDS) for _ in range(n)],
            fixed=lambda: range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + self.held_out),
        )
        view, env = self._view, self._made()

        def instruction(seed: int) -> str:
            observation, _ = env.reset(seed=seed)
            return view.instruction(env, observation)

        return [Task(f"{self.id}/{each}", self.id, instruction(each), each) for each in seeds]

    def make(self) -> GymEnvironment:
        """A new environment."""
        return GymEnvironment(self, self._view, self._made())

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """The commands that the view's expert gives; None where it has none, or does not win the task."""
        environment = self.make()
        environment.reset(task)
        names = self._view.actions(environment.env)
        commands = tuple(names[action] for action in self._view.walkthrough(environment.env))
        environment.reset(task)
        won = False
        for command in commands:
            *_, info = environment.step(command)
            won = info.won
        return commands if won else None

    def texts(self) -> Iterator[str]:
        """What is shown in tasks of every split, played at random and by their walkthroughs."""
        yield NOT_POSSIBLE
        for split in self.splits:
            tasks = self.tasks(split, min(TASKS_READ, self.held_out) if split != "train" else TASKS_READ)
            yield from shown_texts(self, tasks, random.Random(self.name))

    def _made(self) -> Any:
        """The environment of Gymnasium.

        Raises:
            SettingError: if there is none of this name, or if it has no discrete actions.
        """
        # Finding the view comes first: MiniGrid registers its environments when it is imported.
        view = self._view
        import gymnasium

        def make(**settings: Any) -> Any:
            try:
                return gymnasium.make(self.id, disable_env_checker=True, **settings)
            except (gymnasium.error.Error, ModuleNotFoundError) as error:
                raise SettingError(f"--env.id {self.id}: {str(error).splitlines()[0]}") from None

        env = make()
        if not isinstance(env.action_space, gymnasium.spaces.Discrete):
            raise SettingError(
                f"--env.id {self.id} has the actions {env.action_space}: expected Discrete, one number"
            )
        if self.view == "rendered":
            if "ansi" not in env.metadata["render_modes"]:
                raise SettingError(
                    f"--env.view rendered: {self.id} prints no text, as its render modes are "
                    f"{', '.join(env.metadata['render_modes'])}: name a view of your own by MODULE:CLASS"
                )
            env = make(render_mode="ansi")
        # A view refuses an environment that it cannot show.
        view.actions(env)
        return env


class GymEnvironment:
    """An episode of a Gymnasium environment in words."""

    def __init__(self, suite: GymSuite, view: View, env: Any) -> None:
        """Nothing is started yet; `env` is the environment of Gymnasium."""
        self.suite, self.view, self.env = suite, view, env
        self.names: tuple[str, ...] = tuple(view.actions(env))
        self.steps, self.text, self.key = 0, "", None

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task; its own seed is all that is random."""
        observation, _ = self.env.reset(seed=task.game)
        self.steps = 0
        self._see(observation)
        return self.text, self._info()

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Take the action of this name; any other command changes nothing."""
        self.steps += 1
        late = self.suite.max_steps is not None and self.steps >= self.suite.max_steps
        found = listed(command, self.names)
        if found is None:
            return f"{NOT_POSSIBLE}\n{self.text}", 0.0, False, late, self._info()
        observation, given, ended, truncated, _ = self.env.step(found[0])
        ended = bool(ended)
        self._see(observation)
        reward, won = self.view.outcome(self.env, float(given), ended)
        info = self._info(won=won, ended=ended)
        return self.text, self.suite.reward_scale * reward, ended, bool(truncated or late) and not ended, info

    def fork(self) -> GymEnvironment:
        """Another environment in the same state."""
        twin = copy.copy(self)
        twin.env = copy.deepcopy(self.env)
        return twin

    def _see(self, observation: Any) -> None:
        self.text, self.key = (
            self.view.text(self.env, observation),
            self.view.full_state(self.env, observation),
        )

    def _info(self, *, won: bool = False, ended: bool = False) -> Info:
        keys = {"observation": self.text, "full_state": self.key}
        return Info(() if ended else self.names, keys[self.suite.state_key], won, state_keys=keys)
