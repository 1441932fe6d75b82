"""The checker passes a sound environment and tells each planted fault in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from hgpo.envs import ENVIRONMENTS
from hgpo.envs.base import Info, Reading, Task, describe
from hgpo.envs.checker import CHECKS, check, format_report
from hgpo.envs.episode import TimeStep, Transition, advance, begin


class Corridor:
    """Four places in a row; the task is to reach the last one. At most six steps."""

    suite: CorridorSuite

    def __init__(self, suite: CorridorSuite) -> None:
        self.suite = suite
        self.place = 0
        self.steps = 0

    def info(self) -> Info:
        commands = ("east",) if self.place == 0 else ("east", "west")
        return Info(commands, self.place, self.place == 3)

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        self.place, self.steps = 0, 0
        return "place 0", self.info()

    def move(self, command: str) -> str:
        if command not in self.info().admissible_commands:
            return "what?"
        self.place += 1 if command == "east" else -1
        return f"place {self.place}"

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        observation = self.move(command)
        self.steps += 1
        won = self.place == 3
        truncated = not won and self.steps == self.suite.max_steps
        return observation, 1.0 if won else 0.0, won, truncated, self.info()


class CorridorSuite:
    """Three training tasks and a panel of three, all alike."""

    name: ClassVar[str] = "corridor"
    max_steps = 6
    environment: type[Corridor] = Corridor
    known_way: tuple[str, ...] | None = ("east", "east", "east")

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "panel")

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        return [Task(f"{split}/{i}", "walk", "go east", None) for i in range(count or 3)]

    def make(self) -> Any:
        return self.environment(self)

    def walkthrough(self, task: Task) -> tuple[str, ...] | None:
        return self.known_way

    def texts(self) -> Iterator[str]:
        yield from ("place 0 1 2 3", "what?", "go east west")


def test_a_sound_environment_passes():
    report = check(CorridorSuite(), games=3)
    assert report.ok and report.games == 6 and report.steps > 50
    assert format_report(report) == f"CorridorSuite: 6 games, {report.steps} commands: all 14 checks passed"


def test_a_suite_without_walkthroughs_or_step_limit_passes():
    class Endless(Corridor):
        def step(self, command):
            observation, reward, won, _, info = super().step(command)
            return observation, reward, won, False, info

    class Suite(CorridorSuite):
        max_steps = None  # type: ignore[assignment]
        environment = Endless
        known_way = None

    assert check(Suite()).ok


def counter(start: int = 0) -> Iterator[int]:
    while True:
        yield start
        start += 1


def faulty_environment(**methods: Any) -> type[CorridorSuite]:
    environment = type("Faulty", (Corridor,), methods)
    return type("Suite", (CorridorSuite,), {"environment": environment})


def after_step(change: Any) -> type[CorridorSuite]:
    """A suite whose environment's step returns what `change` makes of the right answer."""
    return faulty_environment(step=lambda self, command: change(self, command, *Corridor.step(self, command)))


ticks = counter(1)
TITLED = Task("train/0", "walk", "go east", None)


def readable(texts: Callable[[TimeStep, TimeStep], list[Reading]]) -> type[CorridorSuite]:
    """A suite with readings, given the start of an episode and where it is after "east"."""

    def readings(self: CorridorSuite, count: int, seed: int) -> Iterator[Reading]:
        environment = self.make()
        start = begin(environment, TITLED)
        return iter(texts(start, advance(environment, "east")))

    return type("Suite", (CorridorSuite,), {"readings": readings})


def start_at_place_0(self: Corridor, task: Task, seed: int = 0) -> tuple[str, Info]:
    """A reset that forgets to set the step count back."""
    self.place = 0
    return "place 0", self.info()


FAULTS: dict[str, tuple[type[CorridorSuite], str, str]] = {
    "two tasks of one name": (
        type("Suite", (CorridorSuite,), {"tasks": lambda *_: [Task("a", "walk", "go", None)] * 2}),
        "tasks",
        "two tasks have the identifier 'a'",
    ),
    "a task in both splits": (
        type("Suite", (CorridorSuite,), {"tasks": lambda *_: [Task("a", "walk", "go", None)]}),
        "disjoint",
        "is in train and in panel",
    ),
    "other tasks each time": (
        type(
            "Suite",
            (CorridorSuite,),
            {"tasks": lambda _, split, *__: [Task(f"{split}/{next(ticks)}", "walk", "go", None)]},
        ),
        "draw",
        "other tasks at the second call",
    ),
    "a panel that a seed changes": (
        type(
            "Suite",
            (CorridorSuite,),
            {"tasks": lambda _, split, count=3, seed=0: [Task(f"{split}/{seed}", "walk", "go", None)]},
        ),
        "draw",
        "a split is one fixed list",
    ),
    "an integer as reward": (
        after_step(lambda self, command, obs, reward, won, cut, info: (obs, int(reward), won, cut, info)),
        "types",
        "reward must be a float, not 0",
    ),
    "a list of commands": (
        faulty_environment(
            info=lambda self: replace(Corridor.info(self), admissible_commands=["east", "west"])
        ),
        "types",
        "admissible_commands must be a tuple",
    ),
    "a command twice": (
        faulty_environment(
            info=lambda self: replace(Corridor.info(self), admissible_commands=("east", "east"))
        ),
        "types",
        "must be distinct",
    ),
    "a state key that is no key": (
        faulty_environment(info=lambda self: replace(Corridor.info(self), state_key=[self.place])),
        "types",
        "the state key is a list that cannot be hashed",
    ),
    "a state key that is compared by identity": (
        faulty_environment(info=lambda self: replace(Corridor.info(self), state_key=object())),
        "types",
        "the state key is an object that is compared by identity",
    ),
    "a further state key that is no key": (
        faulty_environment(info=lambda self: replace(Corridor.info(self), state_keys={"full_state": None})),
        "types",
        "the state key 'full_state' is None, a missing value",
    ),
    "further state keys at some steps only": (
        faulty_environment(
            info=lambda self: replace(Corridor.info(self), state_keys={"full_state": 0} if self.place else {})
        ),
        "types",
        "the state keys are 'full_state'; before, they were none",
    ),
    # Places 0 and 2 are said to be one, but there is no way west from place 0.
    "a full state that does not tell all": (
        faulty_environment(
            info=lambda self: replace(Corridor.info(self), state_keys={"full_state": self.place % 2})
        ),
        "state",
        "steps 0 and 2 have one full_state, but not the same admissible commands",
    ),
    # Places 1 and 2 have the same commands; east of the one is a place, east of the other the end.
    "a full state whose future is not one": (
        faulty_environment(
            info=lambda self: replace(Corridor.info(self), state_keys={"full_state": min(self.place, 1)})
        ),
        "state",
        "have one full_state, but after the same 1 commands",
    ),
    "a start that differs": (
        faulty_environment(reset=lambda self, task, seed=0: (f"place {next(ticks) % 4}", self.info())),
        "reset",
        "starts differently",
    ),
    "a reset that keeps the step count": (
        faulty_environment(reset=start_at_place_0),
        "end",
        "truncated",
    ),
    "chance that the seed does not fix": (
        after_step(lambda self, command, obs, *rest: (f"place {next(ticks) % 4}", *rest)),
        "replay",
        "gave another observation",
    ),
    "a state key that counts calls": (
        faulty_environment(info=lambda self: replace(Corridor.info(self), state_key=self.steps)),
        "unknown",
        "changes the state key",
    ),
    "a reward for nonsense": (
        after_step(lambda self, command, obs, reward, *rest: (obs, 1.0 if obs == "what?" else reward, *rest)),
        "unknown",
        "is rewarded",
    ),
    "a command that is not understood": (
        faulty_environment(move=lambda self, command: "what?"),
        "understood",
        "'east' is answered like an unknown one",
    ),
    "a walkthrough that does not win": (
        type("Suite", (CorridorSuite,), {"known_way": ("east", "east")}),
        "walkthrough",
        "does not win",
    ),
    "a walkthrough that is not admissible": (
        type("Suite", (CorridorSuite,), {"known_way": ("west", "east", "east", "east")}),
        "walkthrough",
        "step 1, 'west', is not admissible",
    ),
    "a walkthrough with too many steps": (
        type("Suite", (CorridorSuite,), {"known_way": ("east", "west") * 3 + ("east",) * 3}),
        "walkthrough",
        "ended before its step 7",
    ),
    "a win that is not rewarded": (
        after_step(lambda self, command, obs, reward, *rest: (obs, 0.0, *rest)),
        "walkthrough",
        "not positive",
    ),
    "no end": (
        after_step(lambda self, command, obs, reward, won, cut, info: (obs, reward, False, False, info)),
        "end",
        "neither terminated nor truncated",
    ),
    "the limit one step late": (
        after_step(
            lambda self, command, obs, reward, won, cut, info: (
                obs,
                reward,
                won,
                not won and self.steps > 6,
                info,
            )
        ),
        "end",
        "truncated after 7 steps where max_steps is 6",
    ),
    "a win that is truncated": (
        after_step(lambda self, command, obs, reward, won, cut, info: (obs, reward, won, won or cut, info)),
        "end",
        "both terminated and truncated",
    ),
    "a text of commands that are not admissible": (
        readable(lambda now, after: [Reading(TITLED, (Transition(now, "west", after, None),))]),
        "readings",
        "'west' is not admissible where it is given",
    ),
    "a text without a title": (
        readable(
            lambda now, after: [Reading(Task("a", "", " ", None), (Transition(now, "east", after, None),))]
        ),
        "readings",
        "without a title",
    ),
    "texts that differ each time": (
        readable(lambda now, after: [Reading(TITLED, (Transition(now, "east", after, None),) * next(ticks))]),
        "readings",
        "other texts at the second call",
    ),
    "a word that texts() lacks": (
        type("Suite", (CorridorSuite,), {"texts": lambda self: iter(["place 0 1 2 3 what ?", "go east"])}),
        "words",
        "'west'",
    ),
    "an environment that breaks": (
        faulty_environment(move=lambda self, command: {}[command]),
        "error",
        "raised KeyError",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_told(name):
    suite, which, message = FAULTS[name]
    report = check(suite(), games=3)
    told = {problem.check: problem for problem in report.problems}
    assert which in told, format_report(report)
    assert message in told[which].message
    lines = format_report(report).splitlines()
    assert len(lines) == 1 + len(report.problems) and sum(f"  {which}: " in line for line in lines) == 1


def test_a_missing_package_is_not_a_fault_of_the_environment():
    class Needy(CorridorSuite):
        def make(self):
            raise ModuleNotFoundError("No module named 'dungeons'", name="dungeons")

    with pytest.raises(ModuleNotFoundError, match="dungeons"):
        check(Needy(), games=2)


def test_every_check_has_a_fault_that_it_finds():
    assert {which for _, which, _ in FAULTS.values()} == set(CHECKS)


def test_a_suite_is_known_by_the_name_that_it_says():
    assert set(ENVIRONMENTS) >= {"household", "alfworld", "webshop"}
    assert all(suite().name == name for name, suite in ENVIRONMENTS.items())
    # Results name it, whatever its class is called.
    assert describe(CorridorSuite()) == "corridor"
