"""Agents without a model, as upper and lower bounds for all others: the expert, and random commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from hgpo.envs.base import ExpertSuite, Task, TaskSuite
from hgpo.envs.commands import listed, random_command
from hgpo.errors import SettingError
from hgpo.policies.answers import Answer, InvalidReason
from hgpo.policies.base import Completion
from hgpo.rollouts.agent import Agent, Situation
from hgpo.rollouts.episodes import Decision
from hgpo.rollouts.prompts import Action


@dataclass(frozen=True)
class RandomAgent(Agent):
    """Chooses uniformly among the admissible commands, at any temperature.

    A command that takes words is filled with words of the instruction.
    """

    @override
    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        return [_decision(random_command(s.commands, s.task.instruction, s.rng), s) for s in situations]


@dataclass(frozen=True)
class ExpertAgent(Agent):
    """Plays the suite's walkthroughs. In a task without one, its answers are empty until the step limit."""

    suite: TaskSuite
    _walkthroughs: dict[str, tuple[str, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """The walkthroughs found so far, by the task's id, because finding one can take seconds."""

    def walkthrough(self, task: Task) -> tuple[str, ...]:
        """The commands that win the task; empty if no walkthrough is known.

        Raises:
            SettingError: if the suite gives a text instead.
        """
        if task.id not in self._walkthroughs:
            walkthrough = self.suite.walkthrough(task) or ()
            if isinstance(walkthrough, str):
                raise SettingError(
                    f"the walkthrough of {task.id} is the text {walkthrough!r:.60}: expected a tuple of texts"
                )
            self._walkthroughs[task.id] = walkthrough
        return self._walkthroughs[task.id]

    @override
    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """The next command of each task's walkthrough, in the situations' order.

        Raises:
            SettingError: if all episodes begin and no task has a walkthrough.
        """
        decisions = [self._next(situation) for situation in situations]
        if not any(
            decision.action.command or situation.steps
            for decision, situation in zip(decisions, situations, strict=True)
        ):
            raise SettingError(
                f"none of the tasks has a walkthrough for the expert, for example {situations[0].task.id}"
            )
        return decisions

    def _next(self, situation: Situation) -> Decision:
        # If a walkthrough ends without winning, the expert has no command left.
        left = self.walkthrough(situation.task)[len(situation.steps) :]
        return _decision(left[0] if left else "", situation)


@dataclass(frozen=True)
class ErringExpertAgent(Agent):
    """An expert that gives a random admissible command with some probability, at any temperature.

    It can continue from any state that its errors lead to: if the suite has an expert for every state
    (`ExpertSuite`), it gives that expert's command, or else it resumes the walkthrough (see `resumed`). If
    neither gives a command, the command is random too.
    """

    suite: TaskSuite
    error: float
    """Probability of a random command."""
    _expert: ExpertAgent = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.error <= 1:
            raise SettingError(f"--error is {self.error}: expected a probability")
        object.__setattr__(self, "_expert", ExpertAgent(self.suite))

    @override
    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        return [_decision(self._next(situation), situation) for situation in situations]

    def _next(self, situation: Situation) -> str:
        # The number is always drawn, so that equal random streams err at equal steps.
        errs = situation.rng.random() < self.error
        command = None if errs else self._intended(situation)
        if command is None:
            return random_command(situation.commands, situation.task.instruction, situation.rng)
        return command

    def _intended(self, situation: Situation) -> str | None:
        given = [step.command for step in situation.steps]
        if isinstance(self.suite, ExpertSuite):
            return self.suite.next_command(situation.task, given)
        return resumed(self._expert.walkthrough(situation.task), given, situation.commands)


def resumed(walkthrough: Sequence[str], given: Sequence[str], commands: Sequence[str]) -> str | None:
    """The command with which a walkthrough continues after detours: its next command or, while that is not
    admissible, the last admissible one before it; None if no such command exists.

    Args:
        walkthrough: commands that win from the start.
        given: all commands given so far.
        commands: the admissible commands.
    """
    place = 0
    for command in given:
        done = [number for number, known in enumerate(walkthrough[: place + 1]) if known == command]
        place = done[-1] + 1 if done else place
    for command in reversed(walkthrough[: place + 1]):
        if listed(command, commands):
            return command
    return None


def _decision(command: str, situation: Situation) -> Decision:
    reason = None if listed(command, situation.commands) else InvalidReason.NOT_LISTED
    return Decision(Action(command, reason), Completion.of_answer(Answer(command)))
