"""What rollouts gain if no episode waits for the answers of others.

    python benchmarks/rollout_batching.py [--episodes 32] [--repeats 3]
    python benchmarks/rollout_batching.py --tiny

The same episodes are played with `--rollout-batching step`, where all live episodes take each step
together, and with `continuous`. The first way is the plain lockstep loop: there, answers that have ended also
stay in the batch until the last one ends. The model has random weights, and one of about 60 tokens ends an
answer, so that answers have 1 to 200 tokens, like the thoughts of a language model. Household games are
played for 6 steps each. With --tiny the model is the one of 0.1 million parameters that `hgpo train` makes,
whose answers have a few tokens.

calls    forward passes that write a token of each live answer
idle     1 − tokens / (live episodes, summed over the calls): episodes that wait while others are answered

CPU seconds are those of the process; the ratio is the median of those of each turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest import mock

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hgpo.agents import LanguageAgent
from hgpo.envs import HouseholdSuite
from hgpo.policies import decoding
from hgpo.policies.decoding import Decoding
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy, word_tokenizer
from hgpo.policies.transformers import TransformersPolicy
from hgpo.rollouts.prompts import CommandText
from hgpo.rollouts.rollout import Batching, rollout

WAYS: dict[str, tuple[Batching, float]] = {
    "step, ended answers kept": ("step", 0.0),
    "step": ("step", decoding.WORTH_MOVING),
    "continuous": ("continuous", decoding.WORTH_MOVING),
}
"""The batching, and the part of the cache that may be left when it is made smaller; 0 never does."""
STEPS, GROUP, LONGEST, ENDS_ONE_OF = 6, 8, 200, 60


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="the model that hgpo train makes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    suite = HouseholdSuite(max_steps=STEPS)
    policy, longest = (tiny(suite), 12) if arguments.tiny else (large(suite), LONGEST)
    agent = LanguageAgent(policy, CommandText(), 2, max_prompt_tokens=512, max_response_tokens=longest)
    turns = [
        {way: measured(suite, policy, agent, way, arguments.episodes, turn) for way in WAYS}
        for turn in range(arguments.repeats)
    ]
    for turn in turns:
        assert len({measure["commands"] for measure in turn.values()}) == 1, "the episodes differ"
    print("| batching | CPU seconds | calls | tokens | idle | first / this |\n|---|---:|---:|---:|---:|---:|")
    for way in WAYS:
        names = ("seconds", "calls", "tokens", "idle")
        told = {name: median(turn[way][name] for turn in turns) for name in names}
        ratio = median(turn[next(iter(WAYS))]["seconds"] / turn[way]["seconds"] for turn in turns)
        idle = f"{told['idle']:.0%}" if told["calls"] else "–"
        print(
            f"| {way} | {told['seconds']:.2f} | {told['calls']:.0f} | {told['tokens']:.0f} | {idle} "
            f"| {ratio:.2f} |"
        )


def tiny(suite: HouseholdSuite) -> TransformersPolicy:
    """The model of `hgpo train`, untrained."""
    return create_policy(list(suite.texts()), TinyModel(), max_tokens=600, max_commands=50, seed=0)


def large(suite: HouseholdSuite) -> TransformersPolicy:
    """A model in which decoding takes most of the time: 6 layers of width 192, 2.7 million weights."""
    torch.manual_seed(0)
    tokenizer: Any = word_tokenizer(list(suite.texts()), 1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=192, intermediate_size=528, num_hidden_layers=6,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=1024,
    )  # fmt: skip
    policy = TransformersPolicy(LlamaForCausalLM(config), tokenizer)
    # With random weights all tokens are about equally likely: so many of them end an answer.
    reader: Any = policy.reader
    reader._ends = list(range(len(tokenizer) // ENDS_ONE_OF))
    return policy


def measured(
    suite: HouseholdSuite,
    policy: TransformersPolicy,
    agent: LanguageAgent,
    way: str,
    episodes: int,
    seed: int,
) -> dict[str, Any]:
    """Seconds, calls, tokens, idle share and a digest of the commands."""
    live = episodes

    # What the model said before is computed again.
    policy.synchronize()

    def on_step(finished: int, still: int) -> None:
        nonlocal live
        live = still

    batching, worth_moving = WAYS[way]
    with mock.patch.object(decoding, "WORTH_MOVING", worth_moving), counted(lambda: live) as counts:
        began = time.process_time()
        trajectories = rollout(
            suite,
            agent,
            suite.tasks("train", episodes // GROUP, seed=seed),
            group_size=GROUP,
            temperature=1.0,
            seed=[seed],
            on_step=on_step,
            batching=batching,
        )
        seconds = time.process_time() - began
    commands = tuple(step.command for trajectory in trajectories for step in trajectory.steps)
    return {
        "seconds": seconds,
        "calls": counts["calls"],
        "tokens": counts["tokens"],
        "idle": 1 - counts["tokens"] / max(1, counts["places"]),
        "commands": hash(commands),
    }


@contextmanager
def counted(live: Callable[[], int]) -> Iterator[dict[str, int]]:
    """Counts the forward passes of `Decoding` and the tokens that they write, beside the live episodes."""
    counts, advance = {"calls": 0, "tokens": 0, "places": 0}, Decoding.advance

    def counting(self: Decoding) -> list[Any]:
        counts["calls"] += 1
        counts["tokens"] += len(self.live)
        counts["places"] += live()
        return advance(self)

    with mock.patch.object(Decoding, "advance", counting):
        yield counts


if __name__ == "__main__":
    main()
