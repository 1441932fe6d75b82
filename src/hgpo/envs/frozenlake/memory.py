"""What it is worth to remember, in lakes with a key.

The fork is entered first without and later with the key, and looks the same both times. An agent that sees
the observation alone therefore has to do the same both times. It goes for the key with some probability p and
through the door with the rest (anything else wastes time or is fatal). It wins if it goes for the key at
least once, and then through the door while enough steps are left. With n times at the fork at which there are
enough steps left after the key is fetched, that is

    p Σ_{i < n} p^i (1 − p) = p (1 − p^n),

which is largest for p^n = 1 / (n + 1). An agent that remembers wins always.
"""

from __future__ import annotations

from hgpo.envs.frozenlake.lake import Lake, way_from_start
from hgpo.errors import SettingError

BEFORE_DOOR = 3
"""Steps from the start to the fork, from there to the key, and back to the fork."""
ROUND_TRIP = 2
"""Steps from the fork to the key and back."""


def success_without_memory(max_steps: int, way: int) -> float:
    """The highest probability to win for an agent that sees the observation alone.

    Args:
        max_steps: the step limit of an episode.
        way: the fewest steps from the fork through the door to the goal.
    """
    times = (max_steps - BEFORE_DOOR - way) // ROUND_TRIP + 1
    if times < 1:
        return 0.0
    return (times + 1) ** (-1 / times) * times / (times + 1)


def way_from_fork(lake: Lake) -> int:
    """The fewest steps from the fork through the door to the goal.

    Raises:
        SettingError: if the lake has no key.
    """
    if lake.key is None:
        raise SettingError("the lake has no key: set --env.hidden-key")
    # The start's only way leads to the fork, and from there all other ways lead through the door.
    return way_from_start(lake) - 1
