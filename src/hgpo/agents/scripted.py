"""Agents without a model, between which every other one should lie: the expert and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hgpo.envs.base import Task, TaskSuite
from hgpo.envs.commands import listed, random_command
from hgpo.errors import SettingError
from hgpo.policies.answers import Answer, InvalidReason
from hgpo.policies.base import Completion
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.episodes import Decision
from hgpo.rollouts.prompts import Action


@dataclass(frozen=True)
class RandomAgent:
    """Takes one of the admissible commands, each with the same probability, at any temperature.

    One that takes words gets some of the instruction's.
    """

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """See `Agent.act`."""
        return [_decision(random_command(s.commands, s.task.instruction, s.rng), s) for s in situations]


@dataclass(frozen=True)
class ExpertAgent:
    """Plays the suite's walkthroughs; in a task that has none it says nothing until its steps are used up."""

    suite: TaskSuite
    _walkthroughs: dict[str, tuple[str, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Those found so far, by the task's id: a walkthrough can take seconds to find."""

    def walkthrough(self, task: Task) -> tuple[str, ...]:
        """The commands that win the task; none where no walkthrough is known."""
        if task.id not in self._walkthroughs:
            self._walkthroughs[task.id] = self.suite.walkthrough(task) or ()
        return self._walkthroughs[task.id]

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """See `Agent.act`.

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


def _decision(command: str, situation: Situation) -> Decision:
    reason = None if listed(command, situation.commands) else InvalidReason.NOT_LISTED
    return Decision(Action(command, reason), Completion.of_answer(Answer(command)))
