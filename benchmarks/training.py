"""What the trainer's shortcuts save, on the household games with the model that `hgpo train` makes.

    python benchmarks/training.py [--repeats 3] [--tasks 16] [--group-size 16] [--run FOLDER]

In one run, on the same games and the same agent, that of a short run or of the run in FOLDER:

rollout   ours against the plain loop: every prompt is read, all in one padded batch, and episodes that are
          over generate on until the last one ends. The episodes must come out equal.
update    ours against padding every row to the longest, without merging, zero advantages and all. The
          gradients must agree. "thinned" is ours as `hgpo train` has it by default.
phases    shares of an iteration, and how much of what is read is padding.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from hgpo.agents import LanguageAgent
from hgpo.policies.base import Completion
from hgpo.policies.gradients import add_gradients
from hgpo.policies.reading import PackedBatch, SequenceScores
from hgpo.policies.transformers import TransformersPolicy
from hgpo.rollouts.prompts import Turn, fit_prompts
from hgpo.rollouts.rollout import rollout, step_table
from hgpo.steps import StepTable
from hgpo.training.batch import UpdateBatch, merge_rows, subsample
from hgpo.training.config import TrainConfig, WarmStart, load_config
from hgpo.training.trainer import Trainer
from hgpo.training.update import loss_terms


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
    assert isinstance(reference, TransformersPolicy)
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
        with torch.no_grad():
            there = plain_scores(reference, prompts, responses, trainer.config.temperature).logprobs
        old = torch.zeros(scores.mask.shape)
        old[scores.mask] = torch.from_numpy(
            np.concatenate([steps.response_logprobs[i] for i in rows])
        ).float()
        values = advantages[rows].copy()
        values[-1] = 0.0  # the row that only widens counts nothing
        counted = torch.from_numpy((values != 0).astype(np.int64))
        terms = loss(
            logprobs=scores.logprobs,
            old_logprobs=old,
            reference_logprobs=there,
            entropy=scores.entropy,
            positive=torch.from_numpy(np.maximum(values, 0)).float(),
            negative=torch.from_numpy(np.maximum(-values, 0)).float(),
            count=counted,
            mask=scores.mask,
        )
        (terms.total / total).backward()
    return _gradient(policy)


def our_update(trainer: Trainer, batch: UpdateBatch) -> torch.Tensor:
    """The gradient as the trainer computes it."""
    policy = trainer.state.policy
    policy.model.zero_grad()
    settings = trainer.config
    parameters = [p for p in policy.model.parameters() if p.requires_grad]

    def loss_of(packed: PackedBatch) -> tuple[torch.Tensor, None]:
        terms = loss_terms(
            policy, trainer.state.reference, settings.loss, batch, packed, settings.temperature
        )
        return terms.total / batch.total_tokens, None

    packed_batches = policy.packed_batches(batch.prompts, batch.responses)
    for _ in add_gradients(policy.compute, parameters, packed_batches, loss_of):
        pass
    return _gradient(policy)


def _gradient(policy: TransformersPolicy) -> torch.Tensor:
    return torch.cat([p.grad.flatten().clone() for p in policy.model.parameters() if p.grad is not None])


def timed(*functions: Callable[[], Any], repeats: int) -> list[tuple[float, Any]]:
    """Median seconds of each, and what its last call returned; they take turns, as machines have moods."""
    times: list[list[float]] = [[] for _ in functions]
    values: list[Any] = [None] * len(functions)
    for _ in range(repeats):
        for number, function in enumerate(functions):
            start = time.perf_counter()
            values[number] = function()
            times[number].append(time.perf_counter() - start)
    return [(median(taken), value) for taken, value in zip(times, values, strict=True)]


def padding_share(policy: TransformersPolicy, batch: UpdateBatch) -> float:
    """Share of what the update reads that is padding."""
    packed = list(policy.packed_batches(batch.prompts, batch.responses))
    return 1 - sum(part.read for part in packed) / sum(part.padded for part in packed)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=16)
    parser.add_argument(
        "--iterations", type=int, default=10, help="of the run that the phases are taken from"
    )
    parser.add_argument("--threads", type=int, help="of the model's arithmetic; one a core by default")
    parser.add_argument("--run", type=Path, help="whose agent plays; it has to be finished")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        config = TrainConfig(
            tasks_per_iteration=arguments.tasks,
            group_size=arguments.group_size,
            iterations=arguments.iterations,
            evaluation_tasks=6,
            threads=arguments.threads,
            warm_start=WarmStart(tasks=200, epochs=5),
        )
        if arguments.run:
            config = replace(load_config(arguments.run / "config.json"), threads=arguments.threads)
        trainer = Trainer(config, arguments.run or Path(folder))
        trainer.run()
        records = trainer.log.read_metrics()
        tasks = list(trainer.config.env.tasks("train", arguments.tasks, seed=7))
        agent: LanguageAgent = trainer.state.agent

        def ours() -> list:
            return rollout(
                trainer.config.env, agent, tasks, group_size=arguments.group_size, temperature=1.0, seed=[1]
            )

        (our_seconds, trajectories), (plain_seconds, plain) = timed(
            ours,
            lambda: plain_rollout(trainer, tasks, arguments.group_size, [1]),
            repeats=arguments.repeats,
        )
        mine = [(t.won, [step.command for step in t.steps]) for t in trajectories]
        equal = sum(a == b for a, b in zip(mine, plain, strict=True)) / len(mine)
        count = sum(len(t.steps) for t in trajectories)
        print(f"{trainer.context.compute.threads} threads, {len(mine)} episodes, {count} steps")
        print("| | ours | plain | ratio | |\n|---|---:|---:|---:|---|")
        print(
            f"| rollout, environment steps/s | {count / our_seconds:,.0f} | {count / plain_seconds:,.0f} "
            f"| {plain_seconds / our_seconds:.1f} | {equal:.1%} of the episodes equal |"
        )

        steps = step_table(trajectories, policy_version=0)
        advantages = config.estimator(steps)
        merged = merge_rows(steps, advantages)
        thinned = merge_rows(steps, subsample(advantages, config.subsample_below, np.random.default_rng(0)))
        (our_seconds, gradient), (thin_seconds, _), (plain_seconds, expected) = timed(
            lambda: our_update(trainer, merged),
            lambda: our_update(trainer, thinned),
            lambda: plain_update(trainer, steps, advantages),
            repeats=arguments.repeats,
        )
        distance = float((gradient - expected).norm() / expected.norm())
        for name, seconds, note in (
            (
                "update, environment steps/s",
                our_seconds,
                f"gradients {distance:.0e} of their length apart",
            ),
            ("update, thinned", thin_seconds, "the same gradient on average"),
        ):
            print(
                f"| {name} | {count / seconds:,.0f} | {count / plain_seconds:,.0f} "
                f"| {plain_seconds / seconds:.1f} | {note} |"
            )
        print(f"padding in the update: {padding_share(trainer.state.policy, merged):.1%} of what is read")
        total = sum(record["seconds"] for record in records)
        shares = (
            f"{name} {sum(r[f'seconds_{name}'] for r in records) / total:.2%}"
            for name in ("rollout", "advantages", "update")
        )
        print(f"phases of {len(records)} iterations: {', '.join(shares)}")


if __name__ == "__main__":
    main()
