"""verl's V1 trainers with advantages from hgpo: a mixin, and its combination with each of the three."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import transfer_queue as tq
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from hgpo.adapters.step_records import no_valid_answer
from hgpo.adapters.verl.advantages import (
    AdvantageContext,
    active,
    advantage_context,
    entropy_of_steps,
    register_estimator,
    value_of_steps,
)
from hgpo.adapters.verl.configuration import check_configuration, configured_estimator, stepwise_settings
from hgpo.adapters.verl.diagnostics import diagnostics
from hgpo.adapters.verl.rows import StepRow, step_rows
from hgpo.rollout_files import write_rollouts

logger = logging.getLogger(__name__)

PREFIX = "hgpo_"
"""Prefix of a trainer's name in `trainer.v1.trainer_mode`, before verl's mode."""


class Stepwise:
    """Mixin for a V1 trainer of verl that computes stepwise advantages and can count updates in tasks.

    verl still applies the penalty for diverging from the reference policy and the correction for the
    rollout's precision.
    """

    upstream_mode: ClassVar[str]
    """verl's mode on which the trainer is based."""
    config: Any
    tokenizer: Any
    parameter_sync_step: int
    global_steps: int

    def __init__(self, config: Any) -> None:
        """Create the trainer from verl's whole configuration.

        Raises:
            SettingError: if the configuration cannot work with the plugin.
        """
        check_configuration(config)
        if config.algorithm.adv_estimator not in ADV_ESTIMATOR_REGISTRY:
            # The plugin cannot register a user's own estimator in advance.
            register_estimator(config.algorithm.adv_estimator)
        self.settings = stepwise_settings(config)
        # verl compares this name with its own names in many places.
        config.trainer.v1.trainer_mode = self.upstream_mode
        super().__init__(config)  # pyright: ignore[reportCallIssue]

    @property
    def _tasks(self) -> int:
        """Number of tasks in a batch, as verl samples it."""
        return self.config.data.train_batch_size // self.parameter_sync_step

    @property
    def _optimizer_steps(self) -> int | None:
        """Optimizer steps per batch, if they are counted in tasks."""
        per_update = self.settings.tasks_per_update
        return None if per_update is None else math.ceil(self._tasks / per_update)

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        if self._optimizer_steps is None:
            return super()._get_required_batch_multiple(dp_size)  # pyright: ignore
        # verl counts the rows of a mini-batch in units of rollout.n, and divides them among the ranks.
        return self._optimizer_steps * math.lcm(
            self.config.actor_rollout_ref.rollout.n, dp_size * self._rows_at_once
        )

    @property
    def _rows_at_once(self) -> int:
        """A rank's part of a mini-batch must be a multiple of this number of rows."""
        actor = self.config.actor_rollout_ref.actor
        return 1 if actor.use_dynamic_bsz else actor.ppo_micro_batch_size_per_gpu or 1

    def _update_critic(self, batch: Any, metrics: dict[str, Any]) -> Any:
        self._set_mini_batch(self.config.critic, batch)
        return super()._update_critic(batch, metrics)  # pyright: ignore

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        self._set_mini_batch(self.config.actor_rollout_ref.actor, batch)
        return super()._update_actor(batch, metrics)  # pyright: ignore

    def _set_mini_batch(self, section: Any, batch: Any) -> None:
        if self._optimizer_steps is not None:
            rows = len(batch) // self._optimizer_steps
            section.ppo_mini_batch_size = rows // self.config.actor_rollout_ref.rollout.n

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        rows, context = self._advantage_context(batch)
        with active(context):
            batch = super()._compute_advantage(batch, metrics)  # pyright: ignore
        assert context.read is not None and context.advantages is not None
        metrics.update(
            diagnostics(
                rows,
                context.read,
                context.advantages,
                configured_estimator(self.config),
                tried=self._tasks * self.config.actor_rollout_ref.rollout.n,
            )
        )
        metrics["hgpo/padding_rows"] = len(batch) - len(rows)
        if metrics["hgpo/valid_action_rate"] == 0:
            logger.warning(no_valid_answer(rows, self.tokenizer.batch_decode(context.steps.response_tokens)))
        if self.settings.keep_rollouts:
            folder = Path(self.config.trainer.default_local_dir) / "rollouts"
            write_rollouts(folder / f"{self.global_steps:06d}.parquet", context.steps)
        return batch

    def _advantage_context(self, batch: Any) -> tuple[list[StepRow], AdvantageContext]:
        wanted = ["uid", "extra_fields", "prompts", "responses", "rollout_log_probs", "entropy", "values"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=wanted)
        rows, places = step_rows(data.pop("extra_fields").tolist(), data.pop("uid").tolist())

        def tensors_of_steps(name: str) -> list[torch.Tensor] | None:
            if name not in data:
                return None
            values = torch.unbind(data[name])
            return [values[place].cpu() for place in places]

        def of_steps(name: str) -> list[np.ndarray] | None:
            tensors = tensors_of_steps(name)
            return None if tensors is None else [values.numpy() for values in tensors]

        columns: dict[str, Any] = {
            "prompt_tokens": of_steps("prompts"),
            "response_tokens": of_steps("responses"),
            "response_logprobs": of_steps("rollout_log_probs"),
            "policy_version": [int(batch.tags[place]["min_global_steps"] or 0) for place in places],
        }
        columns |= entropy_of_steps(tensors_of_steps("entropy"), tensors_of_steps("rollout_log_probs"))
        if "values" in data:
            columns["value"] = value_of_steps(data["values"].to_padded_tensor(0.0)[torch.from_numpy(places)])
        return rows, advantage_context(rows, places, **columns)


@register_trainer(PREFIX + "sync")
class StepwiseSync(Stepwise, PPOTrainerSync):
    """Rollouts and updates alternate."""

    upstream_mode = "sync"


@register_trainer(PREFIX + "colocate_async")
class StepwiseColocateAsync(Stepwise, PPOTrainerColocateAsync):
    """Rollouts that are unfinished when an update begins continue after it."""

    upstream_mode = "colocate_async"


@register_trainer(PREFIX + "separate_async")
class StepwiseSeparateAsync(Stepwise, PPOTrainerSeparateAsync):
    """Rollouts have their own GPUs and never stop."""

    upstream_mode = "separate_async"
