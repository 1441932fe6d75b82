"""What rollouts gain if no episode waits for the answers of others.

    python benchmarks/rollout_batching.py [--episodes 64] [--repeats 3]
    python benchmarks/rollout_batching.py --tiny

The same episodes are played with `--rollout-batching step`, where all live episodes take each step together,
and with `continuous`. The model has random weights, and one of about 90 tokens ends an answer, so that answers
have 1 to 200 tokens, like the thoughts of a language model. Household games are played for 8 steps each. With
--tiny the model is the one of 0.1 million parameters that `hgpo train` makes, whose answers have a few tokens.

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
from typing import Any, get_args
from unittest import mock

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hgpo.agents import LanguageAgent
from hgpo.envs import HouseholdSuite
from hgpo.policies.decoding import Decoding
from hgpo.policies.settings import TinyModel
from hgpo.policies.tiny import create_policy, word_tokenizer
from hgpo.policies.transformers import TransformersPolicy
from hgpo.rollouts.prompts import CommandText
from hgpo.rollouts.rollout import Batching, rollout

STEPS, GROUP, LONGEST, ENDS_ONE_OF = 8, 8, 200, 90


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="the model that hgpo train makes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    suite = HouseholdSuite(max_steps=STEPS)
    policy, longest = (tiny(suite), 12) if arguments.tiny else (large(suite), LONGEST)
    agent = LanguageAgent(policy, CommandText(), 2, max_prompt_tokens=512, max_response_tokens=longest)
    turns = [
        {
            batching: measured(suite, agent, batching, arguments.episodes, turn)
            for batching in get_args(Batching)
        }
        for turn in range(arguments.repeats)
    ]
    for turn in turns:
        assert len({measure["commands"] for measure in turn.values()}) == 1, "the episodes differ"
    print("| batching | CPU seconds | calls | tokens | idle | step / this |\n|---|---:|---:|---:|---:|---:|")
    for batching in get_args(Batching):
        told = {
            name: median(turn[batching][name] for turn in turns)
            for name in ("seconds", "calls", "tokens", "idle")
        }
        ratio = median(turn["step"]["seconds"] / turn[batching]["seconds"] for turn in turns)
        idle = f"{told['idle']:.0%}" if told["calls"] else "–"
        print(
            f"| {batching} | {told['seconds']:.1f} | {told['calls']:.0f} | {told['tokens']:.0f} | {idle} "
            f"| {ratio:.2f} |"
        )


def tiny(suite: HouseholdSuite) -> TransformersPolicy:
    """The model of `hgpo train`, untrained."""
    return create_policy(list(suite.texts()), TinyModel(), max_tokens=600, max_commands=50, seed=0)


def large(suite: HouseholdSuite) -> TransformersPolicy:
    """A model in which decoding takes most of the time: 8 layers of width 256, 6 million weights."""
    torch.manual_seed(0)
    tokenizer: Any = word_tokenizer(list(suite.texts()), 1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=704, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=1024,
    )  # fmt: skip
    policy = TransformersPolicy(LlamaForCausalLM(config), tokenizer)
    # With random weights all tokens are about equally likely: so many of them end an answer.
    reader: Any = policy.reader
    reader._ends = list(range(len(tokenizer) // ENDS_ONE_OF))
    return policy


def measured(
    suite: HouseholdSuite, agent: LanguageAgent, batching: Batching, episodes: int, seed: int
) -> dict[str, Any]:
    """Seconds, calls, tokens, idle share and a digest of the commands."""
    live = episodes

    def on_step(finished: int, still: int) -> None:
        nonlocal live
        live = still

    with counted(lambda: live) as counts:
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

    def counting(decoding: Decoding) -> list[Any]:
        counts["calls"] += 1
        counts["tokens"] += len(decoding.live)
        counts["places"] += live()
        return advance(decoding)

    with mock.patch.object(Decoding, "advance", counting):
        yield counts


if __name__ == "__main__":
    main()
