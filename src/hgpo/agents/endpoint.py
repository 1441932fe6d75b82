"""An agent that plays with an untrained chat model on a server: plain, with ReAct, or with Reflexion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from hgpo.agents.chat import ChatClient
from hgpo.agents.faults import TOO_LONG
from hgpo.agents.untrained_prompts import Message, Prompting, lesson_in, reflection_messages
from hgpo.policies.answers import Answer
from hgpo.policies.base import Completion
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.episodes import Decision, Failure, Trajectory

LESSONS_KEPT = 3
"""Number of a task's latest lessons in the prompt, as in Reflexion (arXiv 2303.11366, section 4.1)."""


@dataclass(frozen=True)
class EndpointAgent:
    """Plays with a server's replies. Prompts show the lessons it wrote after failing at the same task."""

    client: ChatClient
    prompting: Prompting
    trials: int = 1
    """Largest number of trials per task; each new trial has one more lesson."""
    lessons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The lessons that the model wrote after earlier trials, by task id."""
    on_reply: Callable[[], None] = lambda: None
    """Called after each reply of the server."""
    _left_out: dict[str, int] = field(default_factory=dict)
    """Number of first steps left out of an episode's latest conversation, by trajectory id."""

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision | Failure]:
        """The server's reply to each situation, in order, or the reason why there is none.

        A conversation that is too long for the model shows fewer of the last steps.
        """
        shown = [self._shown(situation) for situation in situations]
        asked = [
            partial(self.prompting.messages, situation, self.lessons.get(situation.task.id, ()))
            for situation in situations
        ]
        replies = self._ask(asked, shown, temperature)
        decisions: list[Decision | Failure] = []
        for situation, reply, steps in zip(situations, replies, shown, strict=True):
            self._left_out[situation.trajectory_id] = len(situation.steps) - steps
            if isinstance(reply, Failure):
                self._tell(situation.task.id, reply)
                decisions.append(reply)
            else:
                action = self.prompting.parse(reply, situation.commands)
                decisions.append(Decision(action, Completion.of_answer(reply)))
        return decisions

    def reflect(self, failed: Sequence[Trajectory], temperature: float) -> EndpointAgent:
        """A copy of the agent with one more lesson per failed task; an answer without a lesson adds none."""
        asked = [partial(reflection_messages, t, self.lessons.get(t.task.id, ())) for t in failed]
        replies = self._ask(asked, [len(trajectory.steps) for trajectory in failed], temperature)
        learned = dict(self.lessons)
        for trajectory, reply in zip(failed, replies, strict=True):
            lesson = None if isinstance(reply, Failure) else lesson_in(reply)
            if lesson is not None:
                learned[trajectory.task.id] = (*learned.get(trajectory.task.id, ()), lesson)[-LESSONS_KEPT:]
        return replace(self, lessons=learned)

    def _tell(self, task: str, loss: Failure) -> None:
        why = f"{self.client.where} gives no answer: {loss} ({loss.kind})"
        self.client.say(f"lost {loss.kind}", f"{task} failed: {why}")

    def _shown(self, situation: Situation) -> int:
        """Number of last steps to show first: steps that were left out before would again be too long."""
        steps = len(situation.steps)
        shown = steps - (self._left_out.get(situation.trajectory_id, 0) if steps else 0)
        length = self.prompting.prompt_history
        return shown if length is None else min(shown, length)

    def _ask(
        self, conversations: Sequence[Callable[[int], list[Message]]], shown: list[int], temperature: float
    ) -> list[Answer | Failure]:
        """The answer to each conversation.

        Args:
            conversations: functions that return the messages for a given number of last steps.
            shown: this number for each; it is lowered one by one, down to 0, while messages are too long.
            temperature: sampling temperature.
        """
        answers: dict[int, Answer | Failure] = {}
        waiting = list(range(len(conversations)))
        while waiting:
            asked = [conversations[number](shown[number]) for number in waiting]
            answers |= zip(waiting, self.client.ask(asked, temperature, self.on_reply), strict=True)
            waiting = [number for number in waiting if _too_long(answers[number]) and shown[number]]
            for number in waiting:
                shown[number] -= 1
                line = f"{self.client.where}: {answers[number]}; asked again without the oldest step"
                self.client.say(TOO_LONG, line)
        return [answers[number] for number in range(len(conversations))]


def _too_long(answer: Answer | Failure) -> bool:
    return isinstance(answer, Failure) and answer.kind == TOO_LONG
