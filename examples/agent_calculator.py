"""An agent with two tools, written with the `openai` client alone; hgpo trains it as it is.

hgpo train agent:examples/agent_calculator.py:play --tasks sums.jsonl --model OWNER/NAME

A task is a line such as {"question": "What is (17 + 5) * 3?", "answer": 66}. The model's chat template must
have a place for tools.
"""

import json
from typing import Any

from openai import AsyncOpenAI

FUNCTIONS = {"add": lambda a, b: a + b, "multiply": lambda a, b: a * b}
NUMBERS = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": name, "description": f"{name} two numbers", "parameters": NUMBERS},
    }
    for name in FUNCTIONS
]
MOST_CALLS = 6


def used(name: str, arguments: str) -> str:
    """What a tool answers; an error is an answer, too."""
    try:
        numbers = json.loads(arguments)
        return str(FUNCTIONS[name](numbers["a"], numbers["b"]))
    except (ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


async def play(task: dict[str, Any], client: AsyncOpenAI) -> tuple[float, list[str]]:
    """One question; the reward is 1 for the right number, and a state is the latest result of a tool."""
    messages: list[Any] = [{"role": "user", "content": task["question"]}]
    states, text = [], ""
    for _ in range(MOST_CALLS):
        states.append(messages[-1]["content"])
        reply = await client.chat.completions.create(model="policy", messages=messages, tools=TOOLS)
        message = reply.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        calls = [call for call in message.tool_calls or () if call.type == "function"]
        for call in calls:
            result = used(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        if not calls:
            text = message.content or ""
            break
    return float(str(task["answer"]) in text.split()), states
