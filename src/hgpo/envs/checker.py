"""Checks any suite against the contract of `hgpo.envs.base`, and describes each violation in one line.

    report = check(HouseholdSuite())
    print(format_report(report))

The table CHECKS lists what is checked.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeVar

from hgpo.envs.base import Environment, Info, ReadingSuite, Task, TaskSuite
from hgpo.envs.commands import ANY_TEXT, filled_by_chance, listed
from hgpo.envs.episode import EnvironmentFault, TimeStep, Transition, advance, begin, play_episode
from hgpo.envs.faults import checked
from hgpo.errors import SettingError, in_one_line
from hgpo.keys import as_key

T = TypeVar("T")

UNKNOWN_COMMAND = "xyzzy the unheard of"
"""A command that no environment understands."""

FULL_STATE = "full_state"
"""The name in `Info.state_keys` of the key that must identify the whole state."""

MOST_RETURNS, STEPS_ON = 8, 6
"""Number of pairs of steps with the same full state compared per task, and of steps played from each."""

STEP_CAP = 1000
"""Number of steps after which an episode of random commands is considered endless."""

CHECKS = {
    "tasks": "splits and tasks are well formed, and identifiers are unique within a split; training may draw "
    "a task twice",
    "draw": "the same split, count and seed give the same tasks; the first n of a split are its first n",
    "disjoint": "no task is in two splits",
    "types": "reset and step return values of the right types; admissible commands are distinct",
    "reset": "a task starts the same in every environment and every time",
    "replay": "the same commands give the same observations, rewards, ends and infos",
    "state": "after two steps with the same full_state the same commands lead to the same results",
    "walkthrough": "a walkthrough is admissible throughout, wins with its last command and is rewarded",
    "unknown": "a command that is not admissible changes nothing and is not rewarded",
    "understood": "an admissible command is not answered like an unknown one",
    "end": "an episode ends: won means terminated, and truncated comes at max_steps where the suite has it",
    "readings": "readings() gives the same for the same seed: texts with titles, of admissible commands",
    "words": "texts() holds every word that is shown",
    "error": "nothing raises",
}
"""What each check requires of an environment, by the check's name."""


@dataclass(frozen=True)
class Problem:
    """A violation of the contract."""

    check: str
    """A key of CHECKS."""
    where: str
    """The first task, or the split, in which it occurred."""
    message: str
    """The violation in that task or split."""
    count: int = 1
    """Number of times that the check failed in total."""


@dataclass(frozen=True)
class Report:
    """The result of checking a suite."""

    suite: str
    """The suite's class."""
    games: int
    """Number of tasks played."""
    steps: int
    """Number of commands given."""
    problems: tuple[Problem, ...]
    """The problems, one entry per failed check; empty if there are none."""

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def check(suite: TaskSuite, games: int = 12, seed: int = 0) -> Report:
    """Check a suite on `games` tasks of each split, with commands drawn by `seed`."""
    findings = _Findings()
    chosen: list[Task] = []
    for tasks in findings.run_isolated("tasks", lambda: _check_tasks(findings, suite, games, seed)) or []:
        # The tasks are spread over the split, because lists are often sorted by kind.
        chosen += tasks[:: max(1, len(tasks) // games)][:games]
    for task in chosen:
        findings.run_isolated(task.id, lambda task=task: _check_game(findings, suite, task, seed))
    if isinstance(suite, ReadingSuite):
        findings.run_isolated("readings()", lambda: _check_readings(findings, suite, games, seed))
    told = findings.run_isolated("texts()", lambda: {word for text in suite.texts() for word in _words(text)})
    for word, where in findings.shown.items():
        if told is not None and word not in told:
            findings.add("words", where, f"the word {word!r} is shown, but none of texts() contains it")
    return Report(type(suite).__name__, len(chosen), findings.steps, tuple(findings.problems.values()))


def steps_to_win(suite: TaskSuite, task: Task) -> int | None:
    """Number of steps of the suite's walkthrough; None if there is none, or if it does not win."""
    walkthrough = suite.walkthrough(task)
    if walkthrough is None:
        return None
    played = _follow(suite.make(), task, walkthrough, look=checked)
    return len(walkthrough) if played and played[-1].after.info.won else None


def _follow(
    environment: Environment,
    task: Task,
    walkthrough: Sequence[str],
    seed: int = 0,
    look: Callable[[TimeStep], TimeStep] = lambda now: now,
) -> list[Transition[None]]:
    """The steps of a walkthrough, up to its first command that is not admissible; `look` may refuse one."""
    commands = iter(walkthrough)

    def choose(now: TimeStep) -> str | None:
        command = next(commands, None)
        admissible = command is not None and listed(command, look(now).info.admissible_commands) is not None
        return command if admissible else None

    return list(play_episode(environment, task, choose, seed))


def format_report(report: Report) -> str:
    """The report as lines for a terminal."""
    head = f"{report.suite}: {report.games} games, {report.steps} commands"
    if report.ok:
        return f"{head}: all {len(CHECKS)} checks passed"
    lines = [f"{head}: {len(report.problems)} of {len(CHECKS)} checks failed"]
    for problem in report.problems:
        times = f" ({problem.count} times in all)" if problem.count > 1 else ""
        lines.append(f"  {problem.check}: {problem.where}: {problem.message}{times}")
    return "\n".join(lines)


@dataclass
class _Findings:
    """The problems found so far."""

    steps: int = 0
    problems: dict[str, Problem] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)

    def add(self, check: str, where: str, message: str) -> None:
        """Record a failure; for each check the first one is kept and the others are counted."""
        first = self.problems.get(check)
        self.problems[check] = (
            replace(first, count=first.count + 1) if first else Problem(check, where, message)
        )

    def run_isolated(self, where: str, what: Callable[[], T]) -> T | None:
        """The result of a call; if the call raises, record a problem and return None."""
        try:
            return what()
        except (SettingError, ModuleNotFoundError):
            raise  # missing data and packages must be fixed by the caller
        # Any error in the environment under test is a finding, SystemExit included.
        except (Exception, SystemExit) as error:
            raised = "" if isinstance(error, EnvironmentFault) else "raised "
            self.add("error", where, raised + in_one_line(error))
            return None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def _check_tasks(findings: _Findings, suite: TaskSuite, games: int, seed: int) -> list[Sequence[Task]]:
    """Check the task lists; returns for each split its tasks: all of a held-out split, some for training."""
    splits = suite.splits
    if not splits or len(set(splits)) != len(splits) or not all(isinstance(split, str) for split in splits):
        findings.add("tasks", "splits", f"must be distinct names, not {splits!r}")
    owner: dict[str, str] = {}
    lists = []
    for split in splits:
        training = split == splits[0]
        count = games if training else None
        tasks = suite.tasks(split, count, seed)
        if not isinstance(tasks, Sequence) or not all(isinstance(task, Task) for task in tasks):
            findings.add("tasks", split, f"must be a sequence of Task, not {tasks!r:.60}")
            continue
        ids = [task.id for task in tasks]
        if ids != [task.id for task in suite.tasks(split, count, seed if training else seed + 1)]:
            how = "the same seed" if training else "another seed, where a split is one fixed list"
            findings.add("draw", split, f"other tasks at the second call with {how}")
        if not training and ids[:2] != [task.id for task in suite.tasks(split, min(2, len(ids)), seed)]:
            findings.add("draw", split, "its first 2 tasks are not the first 2 of the split")
        if not tasks:
            findings.add("tasks", split, "has no tasks")
        # Training may draw a task again when it has drawn all of them.
        apart = {(task.id, task.kind, task.instruction): task.id for task in tasks}.values()
        twice = [name for name, times in Counter(apart if training else ids).items() if times > 1]
        if twice:
            findings.add("tasks", split, f"two tasks have the identifier {twice[0]!r}")
        for task in tasks:
            for name in ("id", "kind", "instruction"):
                if not getattr(task, name) or type(getattr(task, name)) is not str:
                    findings.add("tasks", str(task.id), f"{name} must be a text, not {getattr(task, name)!r}")
            if owner.setdefault(task.id, split) != split:
                findings.add("disjoint", task.id, f"is in {owner[task.id]} and in {split}")
        lists.append(tasks)
    return lists


@dataclass
class _Player:
    """An environment that plays one task; it checks the types and words of everything it returns."""

    findings: _Findings
    environment: Environment
    task: Task
    seed: int
    key_names: list[str] | None = None
    """The names of the state keys in the first step."""

    def add(self, check: str, message: str) -> None:
        self.findings.add(check, self.task.id, message)

    def begin(self) -> TimeStep:
        return begin(self, self.task, self.seed)

    def play(self, choose: Callable[[TimeStep], str | None]) -> Iterable[Transition[None]]:
        return play_episode(self, self.task, choose, self.seed)

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        now = begin(self.environment, task, seed)
        self._look("reset", now)
        return now.observation, now.info

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        self.findings.steps += 1
        now = advance(self.environment, command)
        self._look(repr(command), now)
        return now.observation, now.reward, now.terminated, now.truncated, now.info

    def _look(self, after: str, now: TimeStep) -> None:
        info = now.info
        if not isinstance(info, Info):
            raise EnvironmentFault(f"after {after}: info must be an Info, not {info!r:.60}")
        for name, value, wanted in (
            ("observation", now.observation, str),
            ("reward", now.reward, float),
            ("terminated", now.terminated, bool),
            ("truncated", now.truncated, bool),
            ("won", info.won, bool),
            *([] if info.score is None else [("score", info.score, float)]),
            ("admissible_commands", info.admissible_commands, tuple),
            *(("each admissible command", command, str) for command in info.admissible_commands),
        ):
            if type(value) is not wanted:
                self.add("types", f"after {after}: {name} must be a {wanted.__name__}, not {value!r}")
        if len(set(info.admissible_commands)) < len(info.admissible_commands):
            self.add("types", f"after {after}: admissible commands must be distinct")
        if not isinstance(info.state_keys, Mapping):
            self.add("types", f"after {after}: state_keys must be a mapping, not {info.state_keys!r}")
            return
        names = [f" {name!r}" for name in info.state_keys]
        for name, key in zip(["", *names], [info.state_key, *info.state_keys.values()], strict=True):
            try:
                as_key(key)
            except (TypeError, ValueError) as error:
                self.add("types", f"after {after}: the state key{name} {error}")
        if self.key_names is None:
            self.key_names = names
        elif names != self.key_names:
            self.add("types", f"after {after}: the state keys are{','.join(names) or ' none'}; before, they "
                     f"were{','.join(self.key_names) or ' none'}")  # fmt: skip
        for text in (now.observation, *info.admissible_commands):
            for word in _words(text):
                self.findings.shown.setdefault(word, self.task.id)


def _check_game(findings: _Findings, suite: TaskSuite, task: Task, seed: int) -> None:
    """All checks of one task."""
    for word in _words(task.instruction):
        findings.shown.setdefault(word, task.id)
    player, other = (_Player(findings, suite.make(), task, seed) for _ in range(2))
    start = player.begin()
    if start != player.begin():
        player.add("reset", "a second reset of the same environment starts differently")
    if start != other.begin():
        player.add("reset", "another environment starts differently")
    _check_understood(player)
    played = _check_random_play(player, getattr(suite, "max_steps", None))
    _check_replay(other, played)
    _check_full_state(other, played)
    walkthrough = suite.walkthrough(task)
    if walkthrough is not None:
        # Walkthroughs contain steps that random commands seldom take, such as choosing options before buying.
        _check_full_state(other, _check_walkthrough(player, walkthrough))


def _check_readings(findings: _Findings, suite: ReadingSuite, games: int, seed: int) -> None:
    """Check the texts to read of some tasks."""
    readings = list(suite.readings(games, seed))
    if readings != list(suite.readings(games, seed)):
        findings.add("readings", "readings()", "other texts at the second call with the same seed")
    for task, steps in ((reading.task, reading.steps) for reading in readings):
        if not task.instruction.strip() or not steps:
            findings.add("readings", task.id, "a text without a title or without steps")
        for word in _words(task.instruction):
            findings.shown.setdefault(word, task.id)
        for step in steps:
            if listed(step.command, step.before.info.admissible_commands) is None:
                findings.add("readings", task.id, f"{step.command!r} is not admissible where it is given")


def _check_unknown(player: _Player, before: TimeStep, after: TimeStep) -> None:
    """Check the effect of an unknown command."""
    if before.info.admissible_commands == ANY_TEXT:
        return
    if after.info.state_key != before.info.state_key:
        told = "changes the state key"
    elif after.info.admissible_commands != before.info.admissible_commands:
        told = "changes the admissible commands"
    elif after.terminated or after.info.won:
        told = "ends the task"
    elif after.reward > 0:
        told = "is rewarded"
    else:
        return
    player.add("unknown", f"a command that is not admissible {told}")


def _check_understood(player: _Player) -> None:
    """Give every command of the start state; it may change nothing, but must not be treated as unknown."""
    start = player.begin()
    if start.info.admissible_commands == ANY_TEXT:
        return
    unknown = advance(player, UNKNOWN_COMMAND)
    _check_unknown(player, start, unknown)
    if unknown.observation == start.observation:
        return  # an unknown command shows the state again, which some admissible commands may do as well
    rng = random.Random(f"{player.seed} {player.task.id}")
    for command in start.info.admissible_commands:
        player.begin()
        after = advance(player, filled_by_chance(command, player.task.instruction, rng.random))
        if after.observation == unknown.observation and after.info.state_key == start.info.state_key:
            player.add("understood", f"the admissible {command!r} is answered like an unknown one")


def _check_random_play(player: _Player, max_steps: int | None) -> list[Transition[None]]:
    """Play random commands to the end and check the end; returns the transitions."""
    rng = random.Random(f"{player.seed} {player.task.id}")
    played: list[Transition[None]] = []
    # One command is unknown: after the start there is more state that it could wrongly change.
    probe = rng.randrange(1, 8)

    def choose(now: TimeStep) -> str | None:
        if len(played) == STEP_CAP or not now.info.admissible_commands:
            why = f"{len(played)} steps were taken" if now.info.admissible_commands else "no command is left"
            player.add("end", f"neither terminated nor truncated when {why}")
            return None
        chosen = UNKNOWN_COMMAND if len(played) == probe else rng.choice(now.info.admissible_commands)
        return filled_by_chance(chosen, player.task.instruction, rng.random)

    for step in player.play(choose):
        played.append(step)
        if step.command == UNKNOWN_COMMAND:
            _check_unknown(player, step.before, step.after)
    if any(step.after.terminated and step.after.truncated for step in played):
        player.add("end", "both terminated and truncated: the end of the task is not a truncation")
    if any(step.after.info.won and not step.after.terminated for step in played):
        player.add("end", "won but not terminated")
    if max_steps is not None and played and played[-1].after.truncated and len(played) != max_steps:
        player.add("end", f"truncated after {len(played)} steps where max_steps is {max_steps}")
    return played


def _check_replay(player: _Player, played: Sequence[Transition[None]]) -> None:
    """Give the same commands again."""
    commands = iter([step.command for step in played])
    again = player.play(lambda now: next(commands))
    for number, (first, second) in enumerate(zip(played, again, strict=False), start=1):
        for name in ("observation", "reward", "terminated", "truncated", "info"):
            if getattr(first.after, name) != getattr(second.after, name):
                player.add(
                    "replay", f"the same {number} commands, the last {first.command!r}, gave another {name}"
                )
                return


def _check_full_state(player: _Player, played: Sequence[Transition[None]]) -> None:
    """If a full state occurs twice, give the commands after its second occurrence also after the first."""
    places: dict[Hashable, list[int]] = {}
    for number, step in enumerate(played):
        if FULL_STATE in step.before.info.state_keys:
            places.setdefault(step.before.info.state_keys[FULL_STATE], []).append(number)
    returns = [pair for visits in places.values() for pair in pairwise(visits)]
    random.Random(f"{player.seed} {player.task.id}").shuffle(returns)
    for first, later in returns[:MOST_RETURNS]:
        same = f"steps {first} and {later} have one full_state"
        if played[first].before.info.admissible_commands != played[later].before.info.admissible_commands:
            player.add("state", f"{same}, but not the same admissible commands")
            return
        wanted = played[later : later + STEPS_ON]
        steps = [*played[:first], *wanted]
        commands = iter([step.command for step in steps])
        again = list(player.play(lambda now, commands=commands: next(commands, None)))[first:]
        for number, (expected, found) in enumerate(zip(wanted, again, strict=False), start=1):
            differs = [name for name, of in BEHAVIOUR.items() if of(expected.after) != of(found.after)]
            if differs:
                after = f"after the same {number} commands, the last {expected.command!r}"
                player.add("state", f"{same}, but {after}, not the same {differs[0]}")
                return


BEHAVIOUR: dict[str, Callable[[TimeStep], object]] = {
    "observation": lambda now: now.observation,
    "reward": lambda now: now.reward,
    "end": lambda now: (now.terminated, now.info.won, now.info.score),
    "admissible commands": lambda now: now.info.admissible_commands,
    "full_state": lambda now: now.info.state_keys.get(FULL_STATE),
}
"""The results that must be equal after the same commands, apart from ends by the step limit."""


def _check_walkthrough(player: _Player, walkthrough: tuple[str, ...]) -> list[Transition[None]]:
    """Play the walkthrough and check how it ends; returns the transitions."""
    if type(walkthrough) is not tuple:
        player.add("walkthrough", f"must be a tuple, not {walkthrough!r}")
    played = _follow(player, player.task, walkthrough, player.seed)
    last = played[-1].after if played else player.begin()
    if len(played) < len(walkthrough):
        command = walkthrough[len(played)]
        if last.over:
            player.add("walkthrough", f"the episode ended before its step {len(played) + 1}, {command!r}")
        else:
            player.add("walkthrough", f"its step {len(played) + 1}, {command!r}, is not admissible")
    elif not (last.terminated and last.info.won):
        player.add("walkthrough", "does not win and end the task")
    elif not last.reward > 0:
        player.add("walkthrough", f"wins with reward {last.reward!r}, which is not positive")
    return played
