"""Other ways to play and to learn, for `benchmarks/training.py`: a plain loop, and the usual libraries.

plain    every prompt is read, all in one padded batch, and episodes that are over generate on until the last
         one ends; an update pads every row to the longest, without merging
stock    the same rollout as ours with `generate` of transformers, and the update of TRL's GRPOTrainer
         (pip install trl) on the same rows with the same advantages
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from hgpo.agents import LanguageAgent
from hgpo.envs.base import Task
from hgpo.policies.base import Completion
from hgpo.policies.readers import SequenceScores
from hgpo.policies.transformers import TransformersPolicy
from hgpo.rollouts.episodes import Trajectory
from hgpo.rollouts.prompts import Turn, fit_prompts
from hgpo.rollouts.rollout import rollout
from hgpo.steps import StepTable
from hgpo.training.trainer import Trainer


class PlainPolicy:
    """Generates for every prompt, in one batch padded to the longest, until every response has ended."""

    def __init__(self, policy: TransformersPolicy) -> None:
        self.policy, self.encode = policy, policy.encode

    @torch.no_grad()
    def generate(self, prompts: Any, uniforms: np.ndarray, temperature: float) -> list[Completion]:
        """One completion a prompt; see `hgpo.policies.base.Policy`."""
        policy = self.policy
        ids, mask, positions = policy.pad(prompts)
        cache = DynamicCache(config=policy.model.config)
        tokens = np.zeros(uniforms.shape, np.int64)
        logprobs = np.zeros(uniforms.shape, np.float32)
        for place in range(uniforms.shape[1]):
            output = policy.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            distribution = torch.log_softmax(output.logits[:, -1].float() / temperature, dim=-1)
            cumulative = distribution.double().exp().cumsum(dim=-1)
            thresholds = torch.from_numpy(uniforms[:, place])[:, None] * cumulative[:, -1:]
            chosen = torch.searchsorted(cumulative, thresholds, right=True).clamp(max=cumulative.shape[1] - 1)
            tokens[:, place] = chosen[:, 0].numpy()
            logprobs[:, place] = distribution.gather(1, chosen)[:, 0].numpy()
            if np.isin(tokens[:, : place + 1], policy.chat.ends).any(axis=1).all():
                break
            ids, mask = chosen, torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            positions = mask.sum(dim=1, keepdim=True) - 1
        lengths = [policy.chat.length(row) for row in tokens]
        responses = [row[:length] for row, length in zip(tokens, lengths, strict=True)]
        scores = [row[:length] for row, length in zip(logprobs, lengths, strict=True)]
        return list(map(Completion, responses, scores, policy.chat.answers(responses)))


def plain_rollout(trainer: Trainer, tasks: list, group_size: int, seed: list[int]) -> list[tuple]:
    """(won, commands) of every episode, by lockstep: those that are over are generated for until the end."""
    agent, suite = trainer.state.agent, trainer.config.env
    assert isinstance(agent, LanguageAgent)
    policy = PlainPolicy(trainer.state.policy)
    episodes = []
    for number, task in enumerate(tasks):
        for member in range(group_size):
            environment = suite.make()
            observation, info = environment.reset(task)
            rng = np.random.default_rng([*seed, number, member])
            episodes.append([task, environment, rng, observation, info, [], False])
    while not all(episode[6] for episode in episodes):
        turns, uniforms = [], []
        for task, _, rng, observation, info, past, _ in episodes:
            turns.append(
                Turn(
                    task.instruction,
                    tuple(past[-agent.prompt_history :]),
                    observation,
                    info.admissible_commands,
                    step=len(past),
                )
            )
            uniforms.append(rng.random(agent.max_response_tokens))
        prompts = fit_prompts(turns, agent.response_format, policy.encode, agent.max_prompt_tokens)
        completions = policy.generate(prompts, np.stack(uniforms), trainer.config.temperature)
        for episode, completion in zip(episodes, completions, strict=True):
            if not episode[6]:
                action = agent.response_format.parse(completion.answer, episode[4].admissible_commands)
                before = episode[3]
                episode[3], _, terminated, truncated, episode[4] = episode[1].step(action.command)
                episode[5].append((before, action.command))
                episode[6] = terminated or truncated
    return [(episode[4].won, [command for _, command in episode[5]]) for episode in episodes]


def plain_scores(
    policy: TransformersPolicy, prompts: list[tuple], responses: list[np.ndarray], temperature: float
) -> SequenceScores:
    """Every pair read for itself, padded to the longest."""
    longest = max(len(response) for response in responses)
    sequences = [(*p, *r.tolist()) for p, r in zip(prompts, responses, strict=True)]
    ids, attention, positions = policy.pad(sequences)
    logits = policy.model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=positions,
        use_cache=False,
        logits_to_keep=longest + 1,
    ).logits[:, :-1]
    distribution = torch.log_softmax(logits.float() / temperature, dim=-1)
    lengths = torch.tensor([len(response) for response in responses])
    mask = torch.arange(longest)[None] >= longest - lengths[:, None]
    logprobs = distribution.gather(2, ids[:, -longest:, None])[..., 0] * mask
    return SequenceScores(logprobs, -(distribution.exp() * distribution).sum(-1) * mask, mask)


def plain_update(trainer: Trainer, steps: StepTable, advantages: np.ndarray) -> torch.Tensor:
    """The gradient with every row padded to the longest, in batches of as many rows as the budget holds."""
    assert steps.prompt_tokens and steps.response_tokens and steps.response_logprobs
    policy, reference, loss = trainer.state.policy, trainer.state.reference, trainer.config.loss
    # Without a weight of the divergence there is no reference.
    assert reference is None or isinstance(reference, TransformersPolicy)
    # A row of the greatest length in each batch makes all of them as wide as the longest.
    lengths = [len(p) + len(r) for p, r in zip(steps.prompt_tokens, steps.response_tokens, strict=True)]
    longest = max(lengths)
    widest, size = lengths.index(longest), max(2, policy.token_budget // longest)
    total = sum(len(response) for response in steps.response_tokens)
    policy.model.zero_grad()
    for start in range(0, len(steps), size - 1):
        rows = [*range(start, min(start + size - 1, len(steps))), widest]
        prompts = [tuple(steps.prompt_tokens[i].tolist()) for i in rows]
        responses = [steps.response_tokens[i] for i in rows]
        scores = plain_scores(policy, prompts, responses, trainer.config.temperature)
        there = scores.logprobs.detach()
        if reference is not None:
            with torch.no_grad():
                there = plain_scores(reference, prompts, responses, trainer.config.temperature).logprobs
        old = torch.zeros(scores.mask.shape)
        old[scores.mask] = torch.from_numpy(
            np.concatenate([steps.response_logprobs[i] for i in rows])
        ).float()
        values = advantages[rows].copy()
        values[-1] = 0.0  # the row that only widens counts nothing
        terms = loss(
            logprobs=scores.logprobs,
            old_logprobs=old,
            reference_logprobs=there,
            entropy=scores.entropy,
            positive=torch.from_numpy(np.maximum(values, 0)).float(),
            negative=torch.from_numpy(np.maximum(-values, 0)).float(),
            positive_rows=torch.from_numpy((values > 0).astype(np.int64)),
            negative_rows=torch.from_numpy((values < 0).astype(np.int64)),
            action=torch.zeros_like(scores.mask),
            mask=scores.mask,
        )
        (terms.total / total).backward()
    return gradient_of(policy.model)


class StockPolicy:
    """Samples with `generate` of transformers."""

    def __init__(self, policy: TransformersPolicy) -> None:
        self.policy, self.encode = policy, policy.encode

    @torch.no_grad()
    def generate(self, prompts: Any, uniforms: np.ndarray, temperature: float) -> list[Completion]:
        """One completion a prompt; its numbers are drawn by PyTorch, and it has no log-probabilities."""
        policy = self.policy
        ids, mask, _ = policy.pad(prompts)
        tokens = policy.model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=uniforms.shape[1],
        )[:, ids.shape[1] :].numpy()
        responses = [row[: policy.chat.length(row)] for row in tokens]
        scores = [np.zeros(len(row), np.float32) for row in responses]
        return list(map(Completion, responses, scores, policy.chat.answers(responses)))


def stock_rollout(trainer: Trainer, tasks: list[Task], group_size: int, seed: list[int]) -> list[Trajectory]:
    """The trajectories of our rollout with `generate` in place of our sampling."""
    agent = replace(trainer.state.agent, policy=StockPolicy(trainer.state.policy))
    torch.manual_seed(0)
    return rollout(
        trainer.config.env,
        agent,
        tasks,
        group_size=group_size,
        temperature=trainer.config.temperature,
        seed=seed,
    )


class TrlStep:
    """The gradient of TRL's GRPOTrainer on given rows: the loss averaged over tokens, with the KL penalty.

    It differs from ours by what the two objectives do differently: TRL's has neither entropy bonus nor dual
    clip here, and counts the divergence of rows without advantage, too.
    """

    def __init__(self, trainer: Trainer, rows_at_once: int, folder: Path) -> None:
        """Make a trainer of our model, which is written to the folder.

        Raises:
            ImportError: if TRL is not installed.
        """
        from datasets import Dataset  # pyright: ignore[reportMissingImports]
        from trl import GRPOConfig, GRPOTrainer  # pyright: ignore

        loss, policy = trainer.config.loss, trainer.state.policy
        self.rows_at_once, self.policy = rows_at_once, policy
        policy.save(folder)
        settings = GRPOConfig(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            report_to="none",
            gradient_checkpointing=False,
            per_device_train_batch_size=2,
            num_generations=2,
            loss_type="dapo",
            beta=loss.kl_coefficient,
            epsilon=loss.clip_low,
            epsilon_high=loss.clip_high,
            temperature=trainer.config.temperature,
            disable_dropout=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.trl = GRPOTrainer(
                model=str(folder),
                reward_funcs=lambda completions, **_: [0.0] * len(completions),
                args=settings,
                train_dataset=Dataset.from_dict({"prompt": ["a", "b"]}),
                processing_class=policy.tokenizer,
            )
        self.trl.current_gradient_accumulation_steps = settings.steps_per_generation
        self.model, self.reference = self.trl.model, self.trl.ref_model
        if self.reference is not None:
            assert isinstance(trainer.state.reference, TransformersPolicy)
            self.reference.load_state_dict(trainer.state.reference.model.state_dict())

    def __call__(self, steps: StepTable, advantages: np.ndarray) -> torch.Tensor:
        """The gradient of the loss of all rows, one vector."""
        assert steps.prompt_tokens and steps.response_tokens and steps.response_logprobs
        self.model.train()
        self.model.zero_grad()
        total = sum(len(response) for response in steps.response_tokens)
        for start in range(0, len(steps), self.rows_at_once):
            rows = range(start, min(start + self.rows_at_once, len(steps)))
            prompts = [tuple(steps.prompt_tokens[i].tolist()) for i in rows]
            responses = [steps.response_tokens[i] for i in rows]
            ids, mask, _ = self.policy.pad(prompts)
            longest = max(map(len, responses))
            completion = torch.zeros(len(rows), longest, dtype=torch.long)
            old, real = torch.zeros(len(rows), longest), torch.zeros(len(rows), longest)
            for row, (i, response) in enumerate(zip(rows, responses, strict=True)):
                completion[row, : len(response)] = torch.tensor(response)
                old[row, : len(response)] = torch.tensor(steps.response_logprobs[i]).float()
                real[row, : len(response)] = 1.0
            inputs = {
                "prompt_ids": ids,
                "prompt_mask": mask,
                "completion_ids": completion,
                "completion_mask": real.long(),
                "advantages": torch.from_numpy(advantages[list(rows)]).float(),
                "old_per_token_logps": old,
                "num_items_in_batch": torch.tensor(float(total)),
            }
            if self.reference is not None:
                inputs["ref_per_token_logps"] = self._reference_logprobs(inputs)
            self.trl.compute_loss(self.model, inputs).backward()
        return gradient_of(self.model)

    @torch.no_grad()
    def _reference_logprobs(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.trl._get_per_token_logps_and_entropies(
            self.reference,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
            inputs["completion_ids"].shape[1],
        )[0]


def gradient_of(model: torch.nn.Module) -> torch.Tensor:
    """All of its gradients, one vector."""
    return torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])
