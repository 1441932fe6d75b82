"""A fault of one environment does not affect the others: exceptions, invalid results, no answer."""

from __future__ import annotations

import threading
import time
from functools import partial

import numpy as np
import pytest

from hgpo.envs.base import Info
from hgpo.envs.episode import EnvironmentFault, TimeStep
from hgpo.envs.faults import checked, run_isolated


def test_answers_come_in_order_and_faults_in_their_place():
    def fail():
        raise KeyError("mug")

    one, fault, three = run_isolated([lambda: 1, fail, lambda: 3], timeout=None)
    assert (one, three) == (1, 3)
    line = fail.__code__.co_firstlineno + 1
    assert str(fault) == f"KeyError: 'mug' (test_environment_faults.py, line {line})"


def test_what_hangs_is_given_up_and_the_rest_is_done():
    release = threading.Event()
    done = []
    started = time.monotonic()
    outcomes = run_isolated(
        [lambda: 1, lambda: release.wait(20), lambda: done.append("after") or 3, lambda: 4], timeout=0.2
    )
    assert time.monotonic() - started < 10
    assert outcomes[0] == 1 and outcomes[2:] == [3, 4]
    assert str(outcomes[1]) == "no answer within 0.2 seconds"
    # When it answers after all, nobody does the rest a second time.
    release.set()
    time.sleep(0.1)
    assert done == ["after"]


def test_nothing_to_do():
    assert run_isolated([], timeout=1.0) == []


GOOD = Info(("look",), "key")


@pytest.mark.parametrize(
    ("observation", "info", "words"),
    [
        (None, GOOD, "the observation is a NoneType, not a text"),
        ("hall", {"won": True}, "the info is a dict, not an Info"),
        ("hall", Info(["look"], "key"), "not a tuple of texts"),  # pyright: ignore
        ("hall", Info((1,), "key"), "not a tuple of texts"),  # pyright: ignore
        ("hall", Info((), "key"), "there is no admissible command, but the episode is not over"),
        ("hall", Info(("look",), ["key"]), "the state key is a list that cannot be hashed"),  # pyright: ignore
        ("hall", Info(("look",), object()), "the state key is an object that is compared by identity"),
        ("hall", Info(("look",), None), "the state key is None, a missing value"),
    ],
)
def test_views_that_are_nonsense(observation, info, words):
    with pytest.raises(EnvironmentFault, match=words):
        checked(TimeStep(observation, info))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ((float("nan"), False, False), "the reward is nan"),
        (("much", False, False), "the reward is 'much'"),
        ((0.0, None, False), "terminated is None"),
        ((0.0, False, 1), "truncated 1"),
    ],
)
def test_outcomes_that_are_nonsense(outcome, words):
    with pytest.raises(EnvironmentFault, match=words):
        checked(TimeStep("hall", GOOD, *outcome))


def test_what_is_right_passes():
    start = TimeStep("hall", GOOD)
    assert checked(start) == start
    end = checked(TimeStep("the end", Info((), "key"), np.int64(1), np.True_, False))  # pyright: ignore
    assert end == TimeStep("the end", Info((), "key"), 1.0, True, False)
    # Plain numbers, whatever the environment counts in.
    assert (type(end.reward), type(end.terminated)) == (float, bool)


def test_jobs_that_wait_run_at_the_same_time_up_to_the_limit():
    running, most = set(), []

    def wait(number: int) -> int:
        running.add(number)
        most.append(len(running))
        time.sleep(0.05)
        running.discard(number)
        return number

    started = time.monotonic()
    jobs = [partial(wait, number) for number in range(12)]
    assert run_isolated(jobs, timeout=5.0, concurrency=4) == list(range(12))
    # Twelve one after another take 0.6 s at least, four at a time 0.15 s.
    assert max(most) == 4 and time.monotonic() - started < 0.5


def test_of_jobs_at_the_same_time_a_late_one_is_given_up_and_faults_keep_their_places():
    release = threading.Event()

    def fail():
        raise KeyError("mug")

    jobs = [lambda: release.wait(20), fail, lambda: 3, lambda: release.wait(20), lambda: 5]
    late, fault, three, late_too, five = run_isolated(jobs, timeout=0.2, concurrency=2)
    release.set()
    assert (three, five) == (3, 5)
    assert str(late) == str(late_too) == "no answer within 0.2 seconds"
    assert str(fault).startswith("KeyError: 'mug'")
