"""Trains a language model on household games through the Tinker API, with HGPO's advantages on every step.

pip install 'hgpo[tinker]'
TINKER_API_KEY=… python examples/tinker_household.py --model Qwen/Qwen3-8B
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tinker

from hgpo import HGPO
from hgpo.adapters.tinker import step_datums
from hgpo.agents.language import LanguageAgent
from hgpo.envs import HouseholdSuite
from hgpo.policies.base import Completion
from hgpo.policies.tokens import ChatTokenizer, end_tokens
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.rollouts.rollout import rollout, step_table


@dataclass
class TinkerPolicy:
    """Samples with the current weights."""

    chat: ChatTokenizer
    client: Any

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each prompt."""
        return self.chat.encode(texts)

    def generate(
        self, prompts: Sequence[tuple[int, ...]], uniforms: np.ndarray, temperature: float
    ) -> list[Completion]:
        """One completion per prompt; all requests wait for their answers at the same time."""
        waiting = []
        for prompt, numbers in zip(prompts, uniforms, strict=True):
            sampling = tinker.SamplingParams(
                max_tokens=len(numbers), temperature=temperature, seed=int(numbers[0] * 2**31)
            )
            waiting.append(self.client.sample(tinker.ModelInput.from_ints(list(prompt)), 1, sampling))
        sequences = [each.result().sequences[0] for each in waiting]
        answers = self.chat.answers([each.tokens for each in sequences])
        return [
            Completion(np.array(each.tokens), np.array(each.logprobs, np.float32), answer)
            for each, answer in zip(sequences, answers, strict=True)
        ]


def train(trainer: Any, iterations: int, tasks: int = 16, group_size: int = 8, max_tokens: int = 512) -> None:
    """Play `tasks` games `group_size` times and take one optimizer step, `iterations` times."""
    tokenizer = trainer.get_tokenizer()
    chat, suite, estimator = ChatTokenizer(tokenizer, end_tokens(tokenizer)), HouseholdSuite(), HGPO()
    for number in range(iterations):
        policy = TinkerPolicy(chat, trainer.save_weights_and_get_sampling_client(name=f"{number:06d}"))
        agent = LanguageAgent(policy, RESPONSE_FORMATS["think_action"], 2, 4096, max_tokens)
        games = suite.tasks("train", tasks, seed=number)
        played = rollout(suite, agent, games, group_size=group_size, temperature=1.0, seed=[number])
        steps = step_table(played, policy_version=number)
        trainer.forward_backward(step_datums(steps, estimator(steps)), loss_fn="ppo").result()
        trainer.optim_step(tinker.AdamParams(learning_rate=1e-5)).result()
        print(f"iteration {number}: success rate {np.mean([each.won for each in played]):.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a base model of the service")
    client = tinker.ServiceClient().create_lora_training_client(base_model=parser.parse_args().model)
    train(client.result(), iterations=100)
