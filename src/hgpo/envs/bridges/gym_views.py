"""How a Gymnasium environment is put into words: a view for each family of environments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol

from hgpo.errors import SettingError, in_one_line
from hgpo.registry.loading import load_class


class View(Protocol):
    """Turns the observations and actions of a Gymnasium environment into text, and says what a state is.

    Every method gets the environment, after `reset` or `step`, and its last observation.
    """

    def actions(self, env: Any) -> Sequence[str]:
        """The commands, each at the place of its action's number; they are admissible in every state."""
        ...

    def instruction(self, env: Any, observation: Any) -> str:
        """What the agent is told to achieve, right after `reset`."""
        ...

    def text(self, env: Any, observation: Any) -> str:
        """What the agent reads."""
        ...

    def full_state(self, env: Any, observation: Any) -> Hashable:
        """Equal in two states of a task exactly if the same actions have the same results from there on."""
        ...

    def outcome(self, env: Any, reward: float, terminated: bool) -> tuple[float, bool]:
        """After an action: the reward that counts, and whether the task has been achieved.

        Args:
            env: the environment.
            reward, terminated: what it returned.
        """
        ...

    def walkthrough(self, env: Any) -> Iterator[int]:
        """The actions that win the task from its start, on an environment that the view may play; none where
        they are not known."""
        ...


class RenderedView:
    """Shows what the environment itself prints, which needs the render mode "ansi"."""

    def actions(self, env: Any) -> Sequence[str]:
        """The numbers of the actions as words: "action 0", "action 1", …"""
        return [f"action {number}" for number in range(int(env.action_space.n))]

    def instruction(self, env: Any, observation: Any) -> str:
        """The environment's name."""
        return f"win {env.spec.name}"

    def text(self, env: Any, observation: Any) -> str:
        """What the environment prints."""
        return str(env.render()).strip()

    def full_state(self, env: Any, observation: Any) -> Hashable:
        """The observation, which must be all of the state: a number, or an array as a tuple."""
        return observation if isinstance(observation, Hashable) else tuple(observation.ravel().tolist())

    def outcome(self, env: Any, reward: float, terminated: bool) -> tuple[float, bool]:
        """The environment's own reward; the task is achieved if it ends with one above 0."""
        return reward, terminated and reward > 0

    def walkthrough(self, env: Any) -> Iterator[int]:
        """None is known."""
        return iter(())


def _minigrid() -> View:
    from hgpo.envs.bridges.minigrid import MiniGridView

    return MiniGridView()


VIEWS: dict[str, Callable[[], View]] = {"minigrid": _minigrid, "rendered": RenderedView}
"""The views by name."""


def find_view(spelling: str) -> View:
    """The view of a name, or of the user's own class, by MODULE:CLASS or FILE.py:CLASS.

    Raises:
        SettingError: if there is none.
    """
    if spelling in VIEWS:
        return VIEWS[spelling]()
    if ":" not in spelling:
        raise SettingError(
            f"--env.view {spelling}: choose from {', '.join(VIEWS)}, or name a class of your own by "
            "MODULE:CLASS or FILE.py:CLASS"
        )
    try:
        view = load_class(spelling)()
    except Exception as error:
        raise SettingError(f"--env.view {spelling} cannot be made: {in_one_line(error)}") from None
    methods = ("actions", "instruction", "text", "full_state", "outcome", "walkthrough")
    missing = [name for name in methods if not callable(getattr(view, name, None))]
    if missing:
        raise SettingError(
            f"--env.view {spelling} has no {', '.join(missing)}: hgpo.envs.bridges.View says what a view does"
        )
    return view
