"""Agents without a model, between which every other one should lie: the expert and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hgpo.agents.base import Decision, Situation
from hgpo.envs.base import TaskSuite
from hgpo.errors import SettingError
from hgpo.policies.base import Completion
from hgpo.prompts import Action


@dataclass(frozen=True)
class RandomAgent:
    """Takes one of the admissible commands, each with the same probability, at any temperature."""

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """See `Agent.act`."""
        return [_decision(s.commands[int(s.rng.integers(len(s.commands)))], s) for s in situations]


@dataclass(frozen=True)
class ExpertAgent:
    """Plays the suite's walkthroughs."""

    suite: TaskSuite

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """See `Agent.act`.

        Raises:
            SettingError: if a task has no walkthrough.
        """
        return [self._next(situation) for situation in situations]

    def _next(self, situation: Situation) -> Decision:
        walkthrough = self.suite.walkthrough(situation.task)
        if walkthrough is None:
            raise SettingError(f"task {situation.task.id} has no walkthrough for an expert to play")
        # A walkthrough that does not win leaves its expert without a word to say.
        left = walkthrough[len(situation.steps) :]
        return _decision(left[0] if left else "", situation)


def _decision(command: str, situation: Situation) -> Decision:
    return Decision(Action(command, valid=command in situation.commands), Completion.of_text(command))
