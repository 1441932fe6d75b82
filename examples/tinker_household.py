"""Trains a language model on household games through the Tinker API, with HGPO's advantages on every step.

pip install 'hgpo[tinker]'
TINKER_API_KEY=… python examples/tinker_household.py --model Qwen/Qwen3-8B
"""

import argparse
from typing import Any

import numpy as np
import tinker

from hgpo import HGPO
from hgpo.adapters.tinker import TinkerPolicy, step_datums
from hgpo.agents.language import LanguageAgent
from hgpo.envs import HouseholdSuite
from hgpo.policies.tokens import ChatTokenizer, end_tokens
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.rollouts.rollout import rollout, step_table


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
