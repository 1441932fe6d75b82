"""The turn that a prompt shows of an episode."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from toy import toy_task

from hgpo.envs.base import Info
from hgpo.envs.episode import TimeStep, Transition
from hgpo.rollouts.episodes import turn_at
from hgpo.rollouts.prompts import Turn


def moment(number: int) -> TimeStep:
    return TimeStep(f"saw {number}", Info((f"can {number}",), number))


@given(st.integers(0, 6), st.none() | st.integers(0, 8))
def test_a_turn_shows_the_last_k_steps_and_counts_them_all(taken, history_length):
    past = [Transition(moment(n), f"did {n}", moment(n + 1), None) for n in range(taken)]
    # Of n steps the last min(n, K) are shown, or all: of 5 steps with K = 2, those numbered 3 and 4.
    first = 0 if history_length is None else max(0, taken - history_length)
    assert turn_at(toy_task("hall", "attic"), past, moment(taken), history_length) == Turn(
        instruction="bring the coin to the purse",
        history=tuple((f"saw {n}", f"did {n}") for n in range(first, taken)),
        observation=f"saw {taken}",
        commands=(f"can {taken}",),
        step=taken,
    )
