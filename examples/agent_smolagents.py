"""A smolagents agent with two tools, as hgpo trains it: only the model's address and key are the gateway's.

hgpo train agent:examples/agent_smolagents.py:play --tasks sums.jsonl --model OWNER/NAME

A task is a line such as {"question": "What is (17 + 5) * 3?", "answer": 66}. The model's chat template must
have a place for tools.
"""

from typing import Any

import openai
from smolagents import OpenAIModel, ToolCallingAgent, tool


@tool
def add(a: float, b: float) -> float:
    """Add two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    return a + b


@tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    return a * b


def play(task: dict[str, Any], client: openai.OpenAI) -> float:
    """One question; the reward is 1 for the right number."""
    model = OpenAIModel("policy", api_base=str(client.base_url), api_key=client.api_key)
    agent = ToolCallingAgent([add, multiply], model, max_steps=6, verbosity_level=0)
    return float(str(agent.run(task["question"])).strip() == str(task["answer"]))
