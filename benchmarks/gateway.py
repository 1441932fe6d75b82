"""Memory and time of the gateway: many requests of agents that do nothing else.

python benchmarks/gateway.py --requests 10000

The time is compared with that of the same requests to a server of the same libraries that answers at once.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import openai
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hgpo.envs.base import Task
from hgpo.gateway import AgentSuite
from hgpo.gateway.agent import GatewayAgent
from hgpo.gateway.protocol import Written
from hgpo.policies.answers import Answer
from hgpo.policies.base import Completion
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy

TURNS, EPISODES = 10, 50
"""Requests per episode, and episodes per rollout."""
MESSAGES: Any = [{"role": "user", "content": "go north " * 50}]


class Silent:
    """A policy that answers at once, with ten tokens."""

    def encode(self, texts: Any) -> Any:
        """Not used: the tokenizer encodes conversations."""
        raise NotImplementedError

    def generate(self, prompts: Any, uniforms: Any, temperature: float) -> list[Completion]:
        """The same tokens for each prompt."""
        tokens, logprobs = np.zeros(10, np.int64), np.zeros(10, np.float32)
        return [Completion(tokens, logprobs, Answer("go north")) for _ in prompts]


async def play(task: Any, client: openai.AsyncOpenAI) -> float:
    """An episode of requests that are all alike."""
    for _ in range(TURNS):
        await client.chat.completions.create(model="policy", messages=MESSAGES)
    return 1.0


def gateway_agent() -> GatewayAgent:
    """The agent with a silent policy and the tokenizer of a small model."""
    policy = create_policy(["go north"], TinyModel(), max_tokens=300, max_commands=1, seed=0)
    suite = AgentSuite(f"{Path(__file__).resolve()}:play")
    return GatewayAgent(suite, Silent(), policy.chat, max_prompt_tokens=300, max_response_tokens=10)


def play_rollout(agent: GatewayAgent) -> int:
    """Play one rollout; returns the number of requests."""
    tasks = [Task(str(number), "task", "", None) for number in range(EPISODES)]
    found = agent.play(tasks, group_size=1, temperature=1.0, seed=[0])
    assert all(trajectory.failure is None for trajectory in found)
    return sum(len(trajectory.steps) for trajectory in found)


def resident_mib() -> float:
    """The process's memory in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def seconds_without_gateway(requests: int) -> float:
    """Seconds for requests to a server that answers each at once, as many at the same time."""

    async def answer(http: Request) -> JSONResponse:
        await http.body()
        return JSONResponse(Written("1", "go north", None, (), False, 100, None, 10).whole(0))

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0)) as address:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off"))
        threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True).start()
        while not server.started:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{address.getsockname()[1]}/v1"

        def one_agent() -> None:
            async def run() -> None:
                http = openai.DefaultAsyncHttpxClient(verify=False, trust_env=False)
                async with openai.AsyncOpenAI(base_url=url, api_key="none", http_client=http) as client:
                    await play(None, client)

            asyncio.run(run())

        started = time.perf_counter()
        for _ in range(requests // (TURNS * EPISODES)):
            agents = [threading.Thread(target=one_agent) for _ in range(EPISODES)]
            for agent in agents:
                agent.start()
            for agent in agents:
                agent.join()
        seconds = time.perf_counter() - started
        server.should_exit = True
        return seconds


def main() -> None:
    """Print the memory after each thousand requests, and the time per request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    wanted = parser.parse_args().requests
    agent = gateway_agent()
    done, shown = play_rollout(agent), 0
    print(f"after {done:>6} requests: {resident_mib():.1f} MiB")
    started = time.perf_counter()
    first = done
    while done < wanted:
        done += play_rollout(agent)
        if done // 1000 > shown:
            shown = done // 1000
            print(f"after {done:>6} requests: {resident_mib():.1f} MiB", flush=True)
    ours = (time.perf_counter() - started) / (done - first)
    theirs = seconds_without_gateway(2000) / 2000
    print(f"{1000 * ours:.2f} ms per request; {1000 * theirs:.2f} ms at a server that answers at once")


if __name__ == "__main__":
    main()
