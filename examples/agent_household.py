"""Household games played by a plain loop around the `openai` client, as an agent that hgpo trains as it is.

hgpo train --iterations 0 --out runs/warm                     # a small model that knows the words
python examples/agent_household.py tasks.jsonl unseen.jsonl   # writes the tasks
hgpo train agent:examples/agent_household.py:play --tasks tasks.jsonl --held-out unseen.jsonl --init runs/warm
"""

import json
import sys
from pathlib import Path

from openai import AsyncOpenAI

from hgpo.envs import HouseholdSuite
from hgpo.envs.household.generator import generate
from hgpo.gateway import Result

SUITE = HouseholdSuite()


async def play(task: dict, client: AsyncOpenAI) -> Result:
    """One episode; the result has one reward, one state key and one validity per request."""
    game, environment = generate(task["id"]), SUITE.make()
    seen, info = environment.reset(game)
    steps: list[tuple[str, str]] = []
    rewards, keys, valid, over = [], [], [], False
    while not over:
        lines = [f"task: {game.instruction}"]
        lines += [f"saw: {before}\ndid: {did}" for before, did in steps[-2:]]
        lines += [f"now: {seen}", *info.admissible_commands, "answer:"]
        reply = await client.chat.completions.create(
            model="policy", messages=[{"role": "user", "content": "\n".join(lines)}]
        )
        command = " ".join((reply.choices[0].message.content or "").lower().split())
        keys.append(info.state_key)
        valid.append(command in info.admissible_commands)
        steps.append((seen, command))
        seen, reward, terminated, truncated, info = environment.step(command)
        rewards.append(reward)
        over = terminated or truncated
    return Result(rewards, keys, valid, won=info.won)


def write_tasks(path: str, split: str, count: int | None = None) -> None:
    """Write tasks of a split to a file, one per line."""
    lines = [json.dumps({"id": game.id, "kind": game.kind}) for game in SUITE.tasks(split, count)]
    Path(path).write_text("\n".join(lines))


if __name__ == "__main__":
    write_tasks(sys.argv[1], "train", 2000)
    write_tasks(sys.argv[2], "valid_unseen")
