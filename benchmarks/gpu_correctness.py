"""Section 1 of gpu.py: whether the device computes what a CPU computes.

The measure is a plain one: each prompt with its response alone, without cache, mask or padding, on the CPU in
float32. Limits are for float32's and bfloat16's rounding in a model of this size, with room to spare.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gpu_figures import Figures
from gpu_setup import log_probabilities, make_model, make_tokenizer, share_read
from transformers import Qwen2Config

from hgpo.agents import LanguageAgent
from hgpo.envs import HouseholdSuite
from hgpo.policies.compute import Compute
from hgpo.policies.transformers import TransformersPolicy
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.rollouts.rollout import rollout, step_table
from hgpo.training.batch import merge_rows
from hgpo.training.losses import PolicyLoss
from hgpo.training.update import update_policy

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LARGEST = {"float32": 2e-3, "bfloat16": 1.0}
"""Nats by which one token's log-probability may be off."""
MEAN = {"float32": 2e-4, "bfloat16": 0.05}
"""Nats by which log-probabilities may be off on average."""
UPDATE = {"float32": 1e-2, "bfloat16": 0.2}
"""By how much of its length an update's step may be off."""


@dataclass(frozen=True)
class Size:
    """How much is compared."""

    hidden: int = 256
    layers: int = 4
    tasks: int = 4
    group_size: int = 4
    max_steps: int = 6
    response_tokens: int = 12


FULL = Size()
SMALL = Size(hidden=64, layers=2, tasks=2, group_size=3, max_steps=3)


def run(figures: Figures, device: torch.device, *, small: bool, games: str | None) -> None:
    """All comparisons; each goes on where another fails."""
    stage = _Stage(SMALL if small else FULL)
    for precision in PRECISIONS:
        for trees in (True, False):
            name = f"log-probabilities, {precision}, prefix trees {'on' if trees else 'off'}"
            figures.attempt(name, stage.compare_scores, figures, name, device, precision, trees)
        name = f"sampler against learner, {precision}"
        figures.attempt(name, stage.compare_sampler, figures, name, device, precision)
        name = f"one update, {precision}"
        figures.attempt(name, stage.compare_update, figures, name, device, precision, False)
    name = "one update, float32, layers computed twice"
    figures.attempt(name, stage.compare_update, figures, name, device, "float32", True)


class _Stage:
    """A model, and the rows of some household games that it has played on the CPU."""

    def __init__(self, size: Size) -> None:
        self.size = size
        suite, response = HouseholdSuite(max_steps=size.max_steps), RESPONSE_FORMATS["text"]
        self.tokenizer = make_tokenizer(suite, response)
        config = Qwen2Config(
            vocab_size=len(self.tokenizer),
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=8,
            num_key_value_heads=4,
            # Wider than the usual 0.02, so that what the model says of a token depends on what it has read.
            initializer_range=0.08,
            tie_word_embeddings=True,
        )
        cpu = torch.device("cpu")
        self.model = make_model(config, cpu, torch.float32)
        self.reference = make_model(config, cpu, torch.float32, seed=1)
        agent = LanguageAgent(self.on(cpu, "float32"), response, 2, 1024, size.response_tokens)
        tasks = list(suite.tasks("train", size.tasks, seed=0))
        played = rollout(suite, agent, tasks, group_size=size.group_size, temperature=1.0, seed=[0])
        steps = step_table(played, policy_version=0)
        self.batch = merge_rows(steps, np.random.default_rng(0).normal(size=len(steps)))
        self.plain = [
            self._plain(prompt, response)
            for prompt, response in zip(self.batch.prompts, self.batch.responses, strict=True)
        ]
        self.step = self._update(cpu, "float32", recompute=False)

    def on(self, device: torch.device, precision: str, **settings: Any) -> TransformersPolicy:
        """A policy with a copy of the model there: float32 weights, products of the precision."""
        return _policy(self.model, self.tokenizer, device, precision, **settings)

    def _plain(self, prompt: Sequence[int], response: np.ndarray) -> torch.Tensor:
        ids = torch.tensor([[*prompt, *response.tolist()]])
        with torch.no_grad():
            said = torch.log_softmax(self.model(input_ids=ids).logits[0].float(), -1)
        return said[torch.arange(len(prompt) - 1, ids.shape[1] - 1), ids[0, len(prompt) :]].double()

    def compare_scores(
        self, figures: Figures, name: str, device: torch.device, precision: str, trees: bool
    ) -> None:
        """What the policy says of the rows' responses, against the plain reading."""
        # Nothing shares a row that may have one token only.
        policy = self.on(device, precision, **({} if trees else {"token_budget": 1}))
        prompts, responses = self.batch.prompts, self.batch.responses
        if trees:
            figures.add(f"{name}: share of tokens read", share_read(policy, prompts, responses), "")
        found = log_probabilities(policy, prompts, responses)
        _add_differences(figures, name, precision, found, self.plain)

    def compare_sampler(self, figures: Figures, name: str, device: torch.device, precision: str) -> None:
        """What the sampler said of its own tokens, against what the learner says of them."""
        policy = self.on(device, precision)
        prompts = list(self.batch.prompts)
        uniforms = np.random.default_rng(1).random((len(prompts), self.size.response_tokens))
        drawn = policy.generate(prompts, uniforms, 1.0)
        learner = log_probabilities(policy, prompts, [completion.tokens for completion in drawn])
        sampler = [torch.from_numpy(completion.logprobs).double() for completion in drawn]
        _add_differences(figures, name, precision, sampler, learner)
        if precision == "float32":
            on_cpu = self.on(torch.device("cpu"), precision).generate(prompts, uniforms, 1.0)
            pairs = zip(drawn, on_cpu, strict=True)
            equal = np.mean([np.array_equal(one.tokens, other.tokens) for one, other in pairs])
            figures.add(f"{name}: share of responses unlike the CPU's", 1 - float(equal), "", at_most=0.05)

    def compare_update(
        self, figures: Figures, name: str, device: torch.device, precision: str, recompute: bool
    ) -> None:
        """The step that an update takes, against the CPU's."""
        step = self._update(device, precision, recompute=recompute)
        apart = float((step - self.step).norm() / self.step.norm())
        figures.add(f"{name}: difference from the CPU's", apart, "of its length", at_most=UPDATE[precision])

    def _update(self, device: torch.device, precision: str, *, recompute: bool) -> torch.Tensor:
        """By how much one update changes the weights, as one vector on the CPU.

        Plain gradient descent: Adam would divide each weight's gradient by its own size, rounding and all.
        """
        policy = self.on(device, precision, recompute=recompute)
        reference = _policy(self.reference, self.tokenizer, device, precision)
        before = _weights(policy.model)
        update_policy(
            policy,
            reference,
            torch.optim.SGD(policy.model.parameters(), lr=0.1),
            PolicyLoss(entropy_coefficient=0.01),
            self.batch,
            ppo_epochs=1,
            num_minibatches=1,
            temperature=1.0,
            max_response_tokens=self.size.response_tokens,
            max_gradient_norm=1.0,
            rng=np.random.default_rng(2),
        )
        return _weights(policy.model) - before


def _policy(
    model: Any, tokenizer: Any, device: torch.device, precision: str, **settings: Any
) -> TransformersPolicy:
    return TransformersPolicy(
        copy.deepcopy(model), tokenizer, Compute(device, PRECISIONS[precision], **settings)
    )


def _weights(model: Any) -> torch.Tensor:
    return torch.cat([weight.detach().double().cpu().flatten() for weight in model.parameters()])


def _add_differences(
    figures: Figures, name: str, precision: str, found: list[torch.Tensor], expected: list[torch.Tensor]
) -> None:
    apart = (torch.cat(found) - torch.cat(expected)).abs()
    figures.add(f"{name}: mean difference", float(apart.mean()), "nats", at_most=MEAN[precision])
    figures.add(f"{name}: largest difference", float(apart.max()), "nats", at_most=LARGEST[precision])
