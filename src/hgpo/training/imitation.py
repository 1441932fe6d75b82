"""Training by cross-entropy on played episodes, before reinforcement learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hgpo.agents.scripted import ExpertAgent
from hgpo.distributed import ProcessGroup, SingleProcess, all_reduce_gradients, shard
from hgpo.envs.base import Task, TaskSuite
from hgpo.envs.episode import Transition
from hgpo.errors import RunError, SettingError
from hgpo.policies.gradients import add_gradients
from hgpo.policies.readers import PackedBatch
from hgpo.policies.transformers import TransformersPolicy
from hgpo.rollouts.episodes import turn_at
from hgpo.rollouts.prompts import ResponseFormat, fit_prompts
from hgpo.rollouts.rollout import rollout
from hgpo.training.config import Imitation


@dataclass(frozen=True)
class Demonstration:
    """One step of a walkthrough: the agent's prompt and the answer it should give."""

    prompt: tuple[int, ...]
    """Token ids."""
    response: tuple[int, ...]
    """Token ids."""
    weight: float = 1.0
    """Weight of the response in the loss."""


def demonstrations(
    suite: TaskSuite,
    policy: TransformersPolicy,
    tasks: Sequence[Task],
    *,
    response_format: ResponseFormat,
    prompt_history: int,
    max_prompt_tokens: int,
    max_response_tokens: int,
) -> list[Demonstration]:
    """The demonstrations from the tasks' walkthroughs, one per step, in order.

    Tasks without a walkthrough are left out.

    Raises:
        SettingError: if a walkthrough does not win its task.
        RunError: if an environment fails.
    """
    expert = ExpertAgent(suite)
    shown = [task for task in tasks if expert.walkthrough(task)]
    rows = []
    for played in rollout(suite, expert, shown, group_size=1, temperature=0.0, seed=()):
        if played.failure is not None:
            raise RunError(f"the walkthrough of task {played.task.id} cannot be played: {played.failure}")
        if not played.won:
            raise SettingError(
                f"the walkthrough of task {played.task.id} does not win within the step limit of an episode: "
                "raise --env.max-steps, or set --warm-start.tasks 0"
            )
        rows += rows_of_play(
            policy,
            played.task,
            played.steps,
            response_format=response_format,
            prompt_history=prompt_history,
            max_prompt_tokens=max_prompt_tokens,
            max_response_tokens=max_response_tokens,
        )
    return rows


def rows_of_play(
    policy: TransformersPolicy,
    task: Task,
    steps: Sequence[Transition[Any]],
    *,
    response_format: ResponseFormat,
    prompt_history: int,
    max_prompt_tokens: int,
    max_response_tokens: int,
    weigh: Callable[[str], float] = lambda command: 1.0,
) -> list[Demonstration]:
    """The prompts and answers of an episode's steps, in order.

    Args:
        policy: its tokenizer is used.
        task: the task that was played.
        steps: the steps.
        response_format: defines the form of prompts and answers.
        prompt_history: number of past steps in the prompt.
        max_prompt_tokens: the oldest steps are left out of a prompt that would be longer.
        max_response_tokens: longer answers are truncated.
        weigh: gives the weight of a command.
    """
    turns = [turn_at(task, steps[:number], step.before, prompt_history) for number, step in enumerate(steps)]
    prompts = fit_prompts(turns, response_format, policy.encode, max_prompt_tokens)
    answers = [
        response_format.answer(step.command, turn.commands) for turn, step in zip(turns, steps, strict=True)
    ]
    return [
        Demonstration(prompt, policy.encode_response(answer, max_response_tokens), weigh(step.command))
        for prompt, answer, step in zip(prompts, answers, steps, strict=True)
    ]


def imitate(
    policy: TransformersPolicy,
    rows: Sequence[Demonstration],
    settings: Imitation,
    rng: np.random.Generator,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    processes: ProcessGroup | None = None,
) -> list[float]:
    """Fit the policy to demonstrations by cross-entropy; returns each epoch's mean loss in nats per token.

    Args:
        policy: changed in place.
        rows: the demonstrations.
        settings: epochs, batch size and learning rate.
        rng: draws the order of the rows.
        on_step: called after every optimizer step with the number done and the total.
        processes: the processes that share the rows.
    """
    processes = processes or SingleProcess()
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.01)
    batches_per_epoch = -(-len(rows) // settings.batch_rows)
    total = settings.epochs * batches_per_epoch
    rise = max(1, total // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (total - step) / max(1, total - rise))
    )
    losses, done = [], 0
    for _ in range(settings.epochs):
        epoch_loss, epoch_tokens = 0.0, 0.0
        order = rng.permutation(len(rows))
        for batch in np.array_split(order, batches_per_epoch):
            loss, tokens = _backward(policy, [rows[i] for i in batch], settings.prompt_weight, processes)
            all_reduce_gradients(parameters, processes)
            epoch_loss, epoch_tokens = epoch_loss + loss, epoch_tokens + tokens
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            done += 1
            on_step(done, total)
        losses.append(epoch_loss / epoch_tokens)
    return losses


def _backward(
    policy: TransformersPolicy, rows: Sequence[Demonstration], prompt_weight: float, processes: ProcessGroup
) -> tuple[float, float]:
    """Add this process's part of the gradient of the weighted mean cross-entropy per response token; returns
    the weighted sum of the cross-entropy over all processes, and the sum of the weights.

    The mean cross-entropy of the prompt tokens is added with weight `prompt_weight`.
    """
    tokens = sum(row.weight * len(row.response) for row in rows)
    prompt_tokens = sum(len(row.prompt) - 1 for row in rows)
    summed = torch.zeros(1, dtype=torch.float64)
    # To score the prompt as well, all tokens after its first are treated as the response.
    starts = [1 if prompt_weight else len(row.prompt) for row in rows]
    prompts = [row.prompt[:start] for row, start in zip(rows, starts, strict=True)]
    rest = [np.array(row.prompt[start:] + row.response) for row, start in zip(rows, starts, strict=True)]

    def loss_of(packed: PackedBatch) -> tuple[torch.Tensor, float]:
        scores = policy.score(packed, temperature=1.0)
        answer = _last_columns(scores.mask, [len(rows[i].response) for i in packed.members])
        weights = torch.tensor([rows[i].weight for i in packed.members], device=scores.mask.device)
        loss = -(scores.logprobs * answer * weights[:, None]).sum()
        reading_loss = -(scores.logprobs * ~answer).sum()
        return loss / tokens + prompt_weight * reading_loss / prompt_tokens, loss.item()

    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    packed_batches = shard(policy.packed_batches(prompts, rest), processes)
    summed += sum(add_gradients(policy.compute, parameters, packed_batches, loss_of))
    processes.all_reduce([summed])
    return float(summed), tokens


def _last_columns(mask: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """True in the last N columns of each row."""
    width = mask.shape[1]
    columns = torch.arange(width)[None] >= width - torch.tensor(counts)[:, None]
    return columns.to(mask.device)
