"""A Gymnasium environment as a task suite: a task is a seed, a view puts the environment into words."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from hgpo.envs.base import Info, Task
from hgpo.envs.bridges.gym_views import View, find_view
from hgpo.envs.bridges.seeds import SPLITS, choose_seeds, texts_of_play
from hgpo.envs.commands import listed
from hgpo.envs.plain import NOT_POSSIBLE
from hgpo.envs.setting_checks import require_choice, require_range
from hgpo.errors import SettingError


@dataclass(frozen=True)
class GymSuite:
    """A Gymnasium environment with discrete actions, such as those of MiniGrid and BabyAI."""

    id: str = "BabyAI-GoToLocal-v0"
    """The environment's name in Gymnasium's registry; a package that registers it may stand before the name,
    as in my_package:Name-v0."""
    view: str = "minigrid"
    """How it is put into words: minigrid, rendered (the text that the environment prints), or MODULE:CLASS or
    FILE.py:CLASS of your own."""
    max_steps: int | None = None
    """An episode is truncated after this number of commands; None: when the environment says so."""
    held_out: int = 100
    """Number of held-out tasks."""
    reward_scale: float = 10.0
    """Rewards are multiplied by this number."""
    state_key: Literal["observation", "full_state"] = "observation"
    """What makes two states the same to the estimator: the text that the agent reads, or all of the state."""

    name: ClassVar[str] = "gym"

    def __post_init__(self) -> None:
        require_range(self, "held_out", 1)
        require_range(self, "max_steps", 1)
        require_choice(self, "state_key", ("observation", "full_state"))

    @property
    def splits(self) -> tuple[str, ...]:
        """Training and held-out tasks."""
        return SPLITS

    @property
    def description(self) -> str:
        """The environment's name, and the settings that results depend on."""
        limit = "" if self.max_steps is None else f", at most {self.max_steps} steps"
        return f"{self.id} in the view {self.view}, state key {self.state_key}{limit}"

    @cached_property
    def _view(self) -> View:
        return find_view(self.view)

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Tasks of a split; `seed` draws those of training."""
        view, env = self._view, self._made()

        def task(number: int) -> Task:
            observation, _ = env.reset(seed=number)
            return Task(f"{self.id}/{number}", self.id, view.instruction(env, observation), number)

        return [task(number) for number in choose_seeds(split, count, seed, self.held_out)]

    def make(self) -> GymEnvironment:
        """A new environment."""
        return GymEnvironment(self, self._view, self._made())

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        """The commands that the view's expert gives; None where it has none, or does not win the task."""
        environment = self.make()
        environment.reset(task)
        names = environment.names
        commands = tuple(names[action] for action in self._view.walkthrough(environment.env))
        environment.reset(task)
        for command in commands:
            _, _, terminated, truncated, info = environment.step(command)
            if terminated or truncated:
                return commands if info.won else None
        return None

    def texts(self) -> Iterator[str]:
        """What is shown in some training tasks."""
        yield from texts_of_play(self)

    def _made(self) -> Any:
        """The environment of Gymnasium.

        Raises:
            SettingError: if there is none of this name, or if it has no discrete actions.
        """
        # The view comes first: MiniGrid registers its environments when it is imported.
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
            modes = env.metadata["render_modes"]
            if "ansi" not in modes:
                raise SettingError(
                    f"--env.view rendered: {self.id} prints no text, as its render modes are "
                    f"{', '.join(modes)}: name a view of your own by MODULE:CLASS"
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
        self.steps, self.text = 0, ""
        self.full_state: Hashable = None

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        """Start the task; its own seed determines all that is random."""
        observation, _ = self.env.reset(seed=task.game)
        self.steps = 0
        self._look(observation)
        return self.text, self._info()

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Take the action of this name; any other command changes nothing."""
        self.steps += 1
        late = self.suite.max_steps is not None and self.steps >= self.suite.max_steps
        found = listed(command, self.names)
        if found is None:
            return f"{NOT_POSSIBLE}\n{self.text}", 0.0, False, late, self._info()
        observation, given, terminated, truncated, _ = self.env.step(found[0])
        terminated, truncated = bool(terminated), bool(truncated) or late
        self._look(observation)
        reward, won = self.view.outcome(self.env, float(given), terminated)
        info = self._info(won=won, terminated=terminated)
        return self.text, self.suite.reward_scale * reward, terminated, truncated and not terminated, info

    def fork(self) -> GymEnvironment:
        """Another environment in the same state."""
        twin = copy.copy(self)
        twin.env = copy.deepcopy(self.env)
        return twin

    def _look(self, observation: Any) -> None:
        self.text = self.view.text(self.env, observation)
        # Where a step is random, what it leads to depends on the generator's state as well.
        chance = self.env.unwrapped.np_random.bit_generator.state
        self.full_state = (self.view.full_state(self.env, observation), repr(chance))

    def _info(self, *, won: bool = False, terminated: bool = False) -> Info:
        keys = {"observation": self.text, "full_state": self.full_state}
        return Info(() if terminated else self.names, keys[self.suite.state_key], won, state_keys=keys)
