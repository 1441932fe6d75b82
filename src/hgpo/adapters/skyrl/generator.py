"""Episodes by SkyRL's inference engines, with one row per step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from skyrl.train.generators.base import GeneratorInterface  # pyright: ignore[reportMissingImports]
from skyrl.train.generators.utils import get_rollout_metrics  # pyright: ignore[reportMissingImports]

from hgpo.adapters.episodes import EpisodePlayer, Reply
from hgpo.adapters.step_records import StepRecord, episode_records
from hgpo.adapters.task_stream import TaskReference
from hgpo.envs.episode import EnvironmentFault, Transition
from hgpo.errors import RunError
from hgpo.policies.answers import Answer
from hgpo.policies.tokens import ChatTokenizer
from hgpo.rollouts.prompts import Turn, fit_prompts

logger = logging.getLogger(__name__)

TRIALS = 3
"""Number of times that an episode is begun if its environment fails."""
RECORDS = "step_records"
"""The key of the records in SkyRL's output of a generator, and in the metadata of its batch."""


@dataclass(frozen=True)
class Row:
    """A step as SkyRL trains on it."""

    prompt: list[int]
    tokens: list[int]
    """The answer, up to and including its first end token. A row needs at least one token."""
    mask: list[int]
    """1 on the tokens that were sampled."""
    logprobs: list[float] | None
    """Log-probabilities of the answer's tokens; None if the engine reports none."""
    stop_reason: str


class StepwiseGenerator(GeneratorInterface):
    """Plays the tasks of a `TaskDataset`, each trajectory by itself and all at the same time."""

    def __init__(
        self,
        player: EpisodePlayer,
        client: Any,
        chat: ChatTokenizer,
        max_prompt_tokens: int,
        model: str | None,
    ) -> None:
        """Store the parts.

        Args:
            player: plays episodes.
            client: SkyRL's inference engines.
            chat: the model's tokenizer.
            max_prompt_tokens: longest prompt in tokens; longer prompts lose their oldest steps.
            model: the name under which the engines serve the model.
        """
        self._player, self._client, self._chat = player, client, chat
        self._longest, self._model = max_prompt_tokens, model

    async def generate(self, input_batch: Any) -> dict[str, Any]:
        """The rows of all trajectories, those of a trajectory together and in the order of its steps.

        Raises:
            RunError: if an environment fails again and again.
        """
        names = input_batch["trajectory_ids"]
        sampling = {**(input_batch["sampling_params"] or {}), "stop_token_ids": list(self._chat.ends)}
        played = await asyncio.gather(
            *(
                self._trajectory(TaskReference(**extras["task_reference"]), name.to_string(), sampling)
                for extras, name in zip(input_batch["env_extras"], names, strict=True)
            )
        )
        rows: list[Row] = [step.decision.output for steps in played for step in steps]
        records = [
            record
            for steps, name in zip(played, names, strict=True)
            for record in episode_records(steps, task=name.instance_id, trajectory=name.to_string())
        ]
        ends = np.cumsum([len(steps) for steps in played]) - 1
        answers, masks = [row.tokens for row in rows], [row.mask for row in rows]
        totals = [record.total for record in records]
        return {
            "prompt_token_ids": [row.prompt for row in rows],
            "response_ids": answers,
            # SkyRL's figures take the reward of a trajectory from its last row.
            "rewards": totals,
            "loss_masks": masks,
            "stop_reasons": [row.stop_reason for row in rows],
            "rollout_metrics": {
                **get_rollout_metrics(answers, totals, loss_masks=masks),
                **_figures(records, [records[end] for end in ends]),
            },
            "rollout_logprobs": _all_or_none([row.logprobs for row in rows]),
            "trajectory_ids": [name for steps, name in zip(played, names, strict=True) for _ in steps],
            "is_last_step": np.isin(np.arange(len(rows)), ends).tolist(),
            RECORDS: records,
        }

    async def _trajectory(
        self, reference: TaskReference, name: str, sampling: Mapping[str, Any]
    ) -> list[Transition[Reply]]:
        task, fault = self._player.task(reference), None
        for trial in range(1, TRIALS + 1):
            try:
                return await self._player.play(task, partial(self._ask, name, sampling))
            except EnvironmentFault as error:
                fault = error
                logger.warning("trajectory %s failed, trial %d: %s", name, trial, fault)
        raise RunError(f"the environment failed {TRIALS} times in task {task.id}: {fault}") from fault

    async def _ask(self, session: str, sampling: Mapping[str, Any], turn: Turn) -> tuple[Answer, Row]:
        shown = self._player.settings.response_format
        (prompt,) = fit_prompts([turn], shown, self._chat.encode, self._longest)
        output = await self._client.generate(
            {
                "prompt_token_ids": [list(prompt)],
                "session_ids": [session],
                "sampling_params": dict(sampling),
            },
            model=self._model,
        )
        (tokens,), logprobs = output["response_ids"], output.get("response_logprobs")
        length, stop = self._chat.length(tokens), output["stop_reasons"][0]
        (answer,) = self._chat.answers([tokens])
        if not length:
            end = [next(iter(self._chat.ends), 0)]
            return answer, Row(list(prompt), end, [0], None if logprobs is None else [0.0], stop)
        known = None if logprobs is None else list(logprobs[0][:length])
        return answer, Row(list(prompt), list(tokens[:length]), [1] * length, known, stop)


def _all_or_none(logprobs: list[list[float] | None]) -> list[list[float]] | None:
    known = [of_row for of_row in logprobs if of_row is not None]
    return known if len(known) == len(logprobs) else None


def _figures(records: list[StepRecord], ends: list[StepRecord]) -> dict[str, float]:
    """Figures of the episodes; SkyRL averages those with "mean" in their names over batches."""
    return {
        "hgpo/success_mean": float(np.mean([end.won for end in ends])),
        "hgpo/return_mean": float(np.mean([end.total for end in ends])),
        "hgpo/steps_mean": len(records) / len(ends),
        "hgpo/valid_action_mean": float(np.mean([record.action_valid for record in records])),
    }
