"""The examples of agents with tools, with a policy that writes what a good model would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import agent_calculator
import numpy as np
import pytest
from byte_models import byte_tokenizer
from gateway_playing import agent_of

from hgpo.envs.base import Task
from hgpo.policies.base import Completion
from hgpo.policies.tokens import ChatTokenizer

TEMPLATE = """
{%- if tools %}Tools, called by <tool_call>…</tool_call>: {{ tools | tojson }}
{% endif %}
{%- for message in messages %}<|{{ message.role }}|>{{ message.content }}
  {%- for call in message.tool_calls or [] %}called {{ call.function.name }}{% endfor %}<|end|>
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""


def chat() -> ChatTokenizer:
    tokenizer = byte_tokenizer(
        *("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"), template=TEMPLATE
    )
    tokenizer.eos_token = "<|end|>"
    return ChatTokenizer(tokenizer, [tokenizer.convert_tokens_to_ids("<|end|>")])


class Says:
    """A policy that writes the next of these answers, by the number of those in the prompt."""

    def __init__(self, tokenizer: ChatTokenizer, *answers: str) -> None:
        self.tokenizer, self.answers = tokenizer, answers
        self.prompts: list[str] = []

    def generate(self, prompts: Any, uniforms: Any, temperature: float) -> list[Completion]:
        found = []
        for prompt in prompts:
            self.prompts.append(self.tokenizer.tokenizer.decode(prompt))
            said = self.answers[self.prompts[-1].count("<|assistant|>") - 1]
            tokens = np.array(self.tokenizer.encode_response(said, 1000))
            (answer,) = self.tokenizer.answers([tokens])
            found.append(Completion(tokens, np.zeros(len(tokens), np.float32), answer))
        return found


def called(name: str, **arguments: Any) -> str:
    shown = ", ".join(f'"{key}": {value}' for key, value in arguments.items())
    return f'<tool_call>{{"name": "{name}", "arguments": {{{shown}}}}}</tool_call>'


def solved(play: Any, *answers: str):
    tokenizer = chat()
    policy = Says(tokenizer, *answers)
    agent = replace(agent_of(play), policy=policy, chat=tokenizer, max_prompt_tokens=20_000)
    agent = replace(agent, max_response_tokens=1000)
    task = Task("t", "sum", "", {"question": "What is (17 + 5) * 3?", "answer": 66})
    (trajectory,) = agent.play([task], group_size=1, temperature=1.0, seed=[0])
    assert trajectory.failure is None, trajectory.failure
    return trajectory, policy, tokenizer


def test_a_calculator_with_two_tools_is_recorded_call_by_call():
    answers = (called("add", a=17, b=5), called("multiply", a=22, b=3), "It is 66")
    trajectory, policy, tokenizer = solved(agent_calculator.play, *answers)
    assert trajectory.rewards == [0, 0, 1]
    keys = [step.before.info.state_key for step in trajectory.steps]
    assert keys == ["What is (17 + 5) * 3?", "22", "66"]
    rows = [step.decision.completion.tokens for step in trajectory.steps]
    assert tokenizer.decode(rows) == list(answers)
    assert [step.command for step in trajectory.steps] == [
        'add({"a": 17, "b": 5})',
        'multiply({"a": 22, "b": 3})',
        "It is 66",
    ]
    assert policy.prompts[0].startswith("Tools, called by <tool_call>") and '"multiply"' in policy.prompts[0]
    assert policy.prompts[1].endswith("<|assistant|>called add<|end|><|tool|>22<|end|><|assistant|>")


def test_a_calculator_whose_answer_is_wrong_gets_no_reward():
    trajectory, *_ = solved(agent_calculator.play, called("add", a=17, b="x"), "It is 65")
    # The malformed call, which is no JSON, is an answer that ends the episode.
    assert trajectory.rewards == [0] and not trajectory.won


@pytest.mark.stack
def test_an_agent_of_smolagents_is_recorded_call_by_call():
    import agent_smolagents

    answers = (
        called("add", a=17, b=5),
        called("multiply", a=22, b=3),
        called("final_answer", answer=66),
    )
    trajectory, policy, _ = solved(agent_smolagents.play, *answers)
    assert trajectory.rewards == [0, 0, 1]
    assert '"final_answer"' in policy.prompts[0]
