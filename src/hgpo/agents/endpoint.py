"""An untrained chat model behind a server as an agent, plain or by ReAct or Reflexion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hgpo.agents.base import Decision, Situation
from hgpo.agents.chat import ChatClient
from hgpo.agents.prompting import Prompting, reflection_messages
from hgpo.answers import read_answer
from hgpo.episodes import Trajectory
from hgpo.policies.base import Completion

LESSONS_KEPT = 3
"""Of a task's lessons the last so many are told, as in Reflexion (arXiv 2303.11366, section 4.1)."""


@dataclass(frozen=True)
class EndpointAgent:
    """Plays by what a server replies; what it wrote of lost episodes is told when a task is tried again."""

    client: ChatClient
    prompting: Prompting
    trials: int = 1
    """Times that a task which was not won is tried, with a lesson more each time."""
    lessons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the model wrote of each task's earlier trials, by the task's id."""
    on_reply: Callable[[], None] = lambda: None
    """Told after each reply of the server."""

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        """See `Agent.act`."""
        asked = [self.prompting.messages(s, self.lessons.get(s.task.id, ())) for s in situations]
        replies = [read_answer(reply) for reply in self.client.ask(asked, temperature, self.on_reply)]
        return [
            Decision(self.prompting.parse(reply, situation.commands), Completion.of_answer(reply))
            for situation, reply in zip(situations, replies, strict=True)
        ]

    def reflect(self, failed: Sequence[Trajectory], temperature: float) -> EndpointAgent:
        """See `ReflectingAgent.reflect`."""
        asked = [reflection_messages(t, self.lessons.get(t.task.id, ())) for t in failed]
        replies = self.client.ask(asked, temperature, self.on_reply)
        learned = {
            trajectory.task.id: (*self.lessons.get(trajectory.task.id, ()), reply)[-LESSONS_KEPT:]
            for trajectory, reply in zip(failed, replies, strict=True)
        }
        return replace(self, lessons={**self.lessons, **learned})
