"""Environment processes in a local Ray: one that hangs, fails or dies does not affect the others."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hgpo.adapters.task_stream import TaskReference
from hgpo.adapters.verl.settings import StepwiseSettings
from hgpo.envs import HouseholdSuite
from hgpo.envs.base import Info, Task
from hgpo.envs.episode import EnvironmentFault, advance, begin

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("ray") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

PANEL = TaskReference("valid_seen", None, 0, 1)


@dataclass(frozen=True)
class Wayward(HouseholdSuite):
    """Household games with commands that make the environment misbehave: "die", "hang", "fail" and "wait"."""

    concurrency: int = 1

    def make(self) -> Any:
        return _Wayward(super().make())


class _Wayward:
    def __init__(self, environment: Any) -> None:
        self.environment = environment

    def reset(self, task: Task, seed: int = 0) -> Any:
        return self.environment.reset(task, seed)

    def step(self, command: str) -> Any:
        if command == "die":
            os._exit(1)
        if command == "hang":
            time.sleep(60)
        if command == "fail":
            raise OSError("out of plates")
        if command == "wait":
            began = time.monotonic()
            time.sleep(0.5)
            return f"{began} {time.monotonic()}", 0.0, False, False, Info(("look",), "waited")
        return self.environment.step(command)


SETTINGS = StepwiseSettings(
    env={"type": f"{__name__}:Wayward"}, environment_processes=2, environment_timeout=2.0
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Any]]:
    """The processes; the handles keep them alive from test to test."""
    import ray

    from hgpo.adapters.verl.environments import open_pool

    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield list(open_pool(SETTINGS).hosts.values())
    ray.shutdown()


@pytest.fixture
def play(hosts: list[Any]) -> Any:
    def run(script: Any) -> Any:
        return played(hosts, script)

    return run


def played(hosts: list[Any], script: Any) -> Any:
    """What a script returns that plays with a pool of these processes."""
    from hgpo.adapters.verl.environments import EnvironmentPool

    async def within_the_loop() -> Any:
        return await script(EnvironmentPool(hosts))

    return asyncio.run(within_the_loop())


def started(hosts: list[Any], monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[Any]:
    """Further processes with other settings; the fixture has started Ray."""
    import ray

    from hgpo.adapters.verl import environments

    del hosts
    monkeypatch.setattr(environments, "ACTOR", f"other_{time.monotonic()}")
    pool = environments.open_pool(replace(SETTINGS, **settings))
    ray.get([host.episodes.remote() for host in pool.hosts.values()])
    return list(pool.hosts.values())


def test_an_episode_is_what_it_is_elsewhere(play):
    suite = HouseholdSuite()
    task = suite.tasks("valid_seen")[1]
    walkthrough = suite.walkthrough(task)
    assert walkthrough is not None

    async def script(pool):
        async with pool.episode("a") as episode:
            started = await episode.start(PANEL)
            return started, [await episode.step(command) for command in walkthrough]

    (started, start), after = play(script)
    environment = suite.make()
    assert started == replace(task, game=None)
    assert start == begin(environment, task)
    assert after == [advance(environment, command) for command in walkthrough]
    assert after[-1].over and after[-1].info.won


@pytest.mark.parametrize(
    ("command", "problem"), [("fail", "OSError: out of plates"), ("hang", "no answer within 2 seconds")]
)
def test_a_fault_stays_with_its_episode(play, command, problem):
    """Four episodes in two processes: the episodes next to the faulty one continue."""

    async def script(pool):
        async def one(key, command):
            async with pool.episode(key) as episode:
                await episode.start(PANEL)
                return await episode.step(command)

        commands = [command, "look", "look", "look"]
        return await asyncio.gather(*map(one, "abcd", commands), return_exceptions=True)

    first, *others = play(script)
    assert isinstance(first, EnvironmentFault) and problem in str(first)
    assert all(now.observation for now in others)


def test_a_process_that_dies_takes_its_own_episodes_alone(play):
    """Two episodes, one per process. New ones go to the living process until the other one is restarted."""
    from hgpo.adapters.verl.environments import ProcessLost

    async def script(pool):
        async with pool.episode("lives") as survivor:
            await survivor.start(PANEL)
            with pytest.raises(ProcessLost):
                async with pool.episode("dies") as victim:
                    await victim.start(PANEL)
                    await victim.step("die")
            assert (await survivor.step("look")).observation
            (dead,) = pool.restarting
            async with pool.episode("again") as again:
                assert (await again.start(PANEL))[1].observation
                assert pool.busy[dead] == 0
        await pool.restarting[dead]
        assert not pool.restarting
        async with pool.episode("b"), pool.episode("c") as later:
            assert sorted(pool.busy.values()) == [1, 1]
            assert (await later.start(PANEL))[1].observation

    play(script)


def test_an_episode_of_a_process_begun_anew_is_lost(play):
    """The restarted process does not have the episode."""
    from hgpo.adapters.verl.environments import ProcessLost

    async def script(pool):
        async with pool.episode("a") as episode:
            await episode.start(PANEL)
            await pool.hosts[next(number for number in pool.busy if pool.busy[number])].end.remote("a")
            with pytest.raises(ProcessLost):
                await episode.step("look")

    play(script)


def test_episodes_are_forgotten_at_their_end(play):
    async def script(pool):
        async def live():
            return sum([await host.episodes.remote() for host in pool.hosts.values()])

        async with pool.episode("a") as episode, pool.episode("b") as other:
            await episode.start(PANEL)
            await other.start(PANEL)
            assert await live() == 2
        assert await live() == 0

    play(script)


def test_every_worker_finds_the_same_processes(hosts):
    from hgpo.adapters.verl.environments import open_pool

    again = open_pool(SETTINGS).hosts.values()
    assert [host._actor_id for host in again] == [host._actor_id for host in hosts]


@pytest.mark.parametrize(
    ("limit", "processes", "shares"),
    [(1, 4, [1, 1, 1, 1]), (3, 2, [2, 1]), (2, 4, [1, 1]), (32, 4, [8, 8, 8, 8]), (7, 3, [3, 2, 2])],
)
def test_processes_share_the_limit_of_a_suite_that_waits(limit, processes, shares):
    """A suite that computes runs in every process; with a limit of 2, two of four processes are enough."""
    from hgpo.adapters.verl.environments import _shared

    assert _shared(limit, processes) == shares


def test_steps_that_wait_run_at_the_same_time_up_to_the_limit(hosts, monkeypatch):
    """Seven steps of half a second, three at a time in two processes: 2 and 1."""
    env = {"type": f"{__name__}:Wayward", "concurrency": 3}
    others = started(hosts, monkeypatch, env=env)

    async def script(pool):
        async def one(key):
            async with pool.episode(key) as episode:
                await episode.start(PANEL)
                return (await episode.step("wait")).observation

        return await asyncio.gather(*map(one, "abcdefg"))

    spans = [tuple(map(float, observation.split())) for observation in played(others, script)]
    together = max(sum(began <= at < ended for began, ended in spans) for at, _ in spans)
    assert together == 3


def test_a_crash_in_a_process_of_its_own_costs_one_trajectory(hosts, monkeypatch):
    """Eight episodes: one ends its process, one hangs, and the others continue in the same two processes."""
    env = {"type": "crashing_games:Suite"}
    others = started(hosts, monkeypatch, env=env, env_isolation="process", environment_timeout=3.0)

    async def script(pool):
        async def one(key, command):
            async with pool.episode(key) as episode:
                await episode.start(TaskReference("held_out", None, 0, 0))
                await episode.step("stay")
                return await episode.step(command)

        commands = ["exit", "wait", *["stay"] * 6]
        return await asyncio.gather(*map(one, "abcdefgh", commands), return_exceptions=True)

    died, hung, *rest = played(others, script)
    assert isinstance(died, EnvironmentFault) and "process ended with exit code 3" in str(died)
    assert isinstance(hung, EnvironmentFault) and "no answer within 3 seconds" in str(hung)
    # Each of the six has its own process.
    assert len({now.observation for now in rest}) == 6


def test_processes_by_default(hosts):
    """One for each core, 2 here; at most 4."""
    from hgpo.adapters.verl.environments import _default_processes

    assert _default_processes() == 2


@pytest.mark.parametrize(("error", "retries", "begun"), [("lost", 2, 3), ("lost", 0, 1), ("fault", 2, 1)])
def test_what_cannot_be_played_is_dropped(error, retries, begun):
    """A trajectory is restarted that many times if its process dies, but not after a fault; then it has no rows."""
    from hgpo.adapters.verl.agent_loop import StepwiseAgentLoop
    from hgpo.adapters.verl.environments import ProcessLost

    keys = []

    class Pool:
        @asynccontextmanager
        async def episode(self, key):
            keys.append(key)
            raise ProcessLost("gone") if error == "lost" else EnvironmentFault("broken")
            yield

    loop = StepwiseAgentLoop.__new__(StepwiseAgentLoop)
    vars(loop).update(
        pool=Pool(),
        settings=replace(SETTINGS, environment_retries=retries),
        rollout_config=SimpleNamespace(response_length=8),
    )
    arguments = {"uid": "u", "session_id": 3, "task_reference": vars(PANEL)}
    assert asyncio.run(loop.run({"temperature": 1.0}, **arguments)) == []
    assert keys == [f"u_3/{attempt}" for attempt in range(begun)]
