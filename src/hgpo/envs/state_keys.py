"""State keys: which states of a game count as the same when steps are compared.

The paper compares steps whose observations are equal. An observation can stand for several states: two
closed cabinets look alike. Then the comparison is biased. A finer key is less biased and has fewer peers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

StateKeyName = Literal["observation", "observation_and_commands", "full_state"]


@dataclass(frozen=True)
class View:
    """What can be known of the state after a step."""

    observation: str
    """The text shown."""
    commands: Sequence[str]
    """The admissible commands."""
    unchanged: bool
    """Whether the last command was not understood, so that the state is the one before."""
    full_state: Callable[[], Hashable]
    """Tells the engine's whole state; called only where it is wanted."""


StateKey = Callable[[View], Hashable]
"""Two states are the same to the estimator if their keys are equal."""

STATE_KEYS: dict[StateKeyName, StateKey] = {
    "observation": lambda view: view.observation,
    "observation_and_commands": lambda view: (view.observation, tuple(view.commands)),
    "full_state": lambda view: view.full_state(),
}
"""The state keys by the name that the settings use; "observation" is the paper's."""

assert set(get_args(StateKeyName)) == STATE_KEYS.keys()


class EpisodeKeys:
    """The state keys along one episode."""

    def __init__(self, key: StateKey, keep_if_unchanged: bool) -> None:
        """Take a key, and whether a command that was not understood leaves the key as it was.

        "Nothing happens." is what every state answers to such a command. As a key of its own it would put
        steps of all states into one group.
        """
        self._key = key
        self._keep = keep_if_unchanged
        self._last: Hashable = None

    def after(self, view: View) -> Hashable:
        """The key of the state that is seen now."""
        if not (view.unchanged and self._keep):
            self._last = self._key(view)
        return self._last
