"""Agents without a model, between which every other one should lie: the expert and chance."""

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
    """Takes one of the admissible commands, each with the same probability, at any temperature.

    One that takes words gets some of the instruction's.
    """

    @override
    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        return [_decision(random_command(s.commands, s.task.instruction, s.rng), s) for s in situations]


@dataclass(frozen=True)
class ExpertAgent(Agent):
    """Plays the suite's walkthroughs; in a task that has none it says nothing until its steps are used up."""

    suite: TaskSuite
    _walkthroughs: dict[str, tuple[str, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Those found so far, by the task's id: a walkthrough can take seconds to find."""

    def walkthrough(self, task: Task) -> tuple[str, ...]:
        """The commands that win the task; none where no walkthrough is known.

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
                f"none of the tasks has a walkthrough for an expert to play, {situations[0].task.id} for one"
            )
        return decisions

    def _next(self, situation: Situation) -> Decision:
        # A walkthrough that does not win leaves its expert without a word to say.
        left = self.walkthrough(situation.task)[len(situation.steps) :]
        return _decision(left[0] if left else "", situation)


@dataclass(frozen=True)
class ErringExpertAgent(Agent):
    """An expert that gives a random admissible command with some probability, at any temperature.

    It can take over wherever its errors have led: where the suite has an expert for every state
    (`ExpertSuite`), that one's command is next; else the walkthrough goes on (see `resumed`). Where neither
    knows what to do, the command is random too.
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
        # The number is drawn in any case, so that equal streams err at equal steps.
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
    """How a walkthrough goes on after detours: with its next command or, as long as that is not admissible,
    with the last one before it that is; None if there is none.

    Args:
        walkthrough: commands that win from the start.
        given: all commands so far.
        commands: those that are admissible.
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
