"""State keys: which states of a game are treated as the same when steps are compared.

The paper compares steps with equal observations. Several states can have the same observation, such as two
closed cabinets, and this biases the comparison. A finer key has less bias, but gives fewer peers.

An environment reports all keys of `STATE_KEYS` in `Info.state_keys`, and in `Info.state_key` the one chosen
by its suite's setting `state_key`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

StateKeyName = Literal["observation", "observation_and_commands", "full_state"]


@dataclass(frozen=True)
class View:
    """The information from which the state keys after a step are made."""

    observation: str
    """The observation."""
    commands: Sequence[str]
    """The admissible commands."""
    unchanged: bool
    """Whether the last command was not understood, so that the state is unchanged."""
    full_state: Callable[[], Hashable]
    """Returns a value that identifies the engine's whole state."""


StateKey = Callable[[View], Hashable]
"""Maps a view to a state key; states with equal keys are the same to the estimator."""

STATE_KEYS: dict[StateKeyName, StateKey] = {
    "observation": lambda view: view.observation,
    "observation_and_commands": lambda view: (view.observation, tuple(view.commands)),
    "full_state": lambda view: view.full_state(),
}
"""The state keys by name; the paper uses "observation"."""

assert set(get_args(StateKeyName)) == STATE_KEYS.keys()


class EpisodeKeys:
    """The state keys along one episode."""

    def __init__(self, name: StateKeyName, keep_if_unchanged: bool) -> None:
        """Start with the name of the key in use, and whether a command that is not understood leaves all keys
        unchanged.

        Every state answers such a command with "Nothing happens.". As a separate key it would put steps of
        all states into one group.
        """
        self._name: StateKeyName = name
        self._keep = keep_if_unchanged
        self._last: Mapping[str, Hashable] = {}

    def after(self, view: View) -> tuple[Hashable, Mapping[str, Hashable]]:
        """The key in use for the state after a step, and all keys by name."""
        if not (view.unchanged and self._keep):
            self._last = {name: key(view) for name, key in STATE_KEYS.items()}
        return self._last[self._name], self._last
