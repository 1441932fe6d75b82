"""TRL's GRPO trainer with one row per step, and the advantages of any estimator of this package."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from trl import GRPOTrainer  # pyright: ignore[reportMissingImports]

from hgpo.adapters.step_records import (
    StepRecord,
    diagnostics,
    episode_records,
    no_valid_answer,
    step_table,
)
from hgpo.adapters.task_stream import TaskStream
from hgpo.adapters.trl.arguments import StepwiseGRPOConfig
from hgpo.adapters.trl.playing import SamplingAgent
from hgpo.envs.base import Task, tasks_of
from hgpo.errors import RunError
from hgpo.policies.tokens import ChatTokenizer, end_tokens
from hgpo.rollouts.rollout import rollout

logger = logging.getLogger(__name__)

MEANINGLESS = ("reward", "frac_reward_zero_std", "completions/")
"""Beginnings of the names of TRL's metrics that assume one row per trajectory; those under `hgpo/` replace
them."""
AVERAGED_OVER_ROWS = ("grpo", "sapo", "dr_grpo", "luspo")
"""Losses that TRL divides by the number of rows, padding included."""


@dataclass(frozen=True)
class Row:
    """A step with its tokens."""

    record: StepRecord
    prompt: tuple[int, ...]
    tokens: np.ndarray
    """The answer, int64 [tokens]."""
    logprobs: np.ndarray
    """Log-probabilities of the answer's tokens, float32 [tokens]; empty if the generation reports none."""
    padding: bool = False
    """Whether the row only fills up a batch; the loss masks its tokens."""


def trajectory_return(total: Sequence[float], **_: Any) -> list[float]:
    """The rewards that TRL logs, which do not affect the advantages: the return of each row's trajectory."""
    return list(total)


class StepwiseGRPOTrainer(GRPOTrainer):
    """Plays the tasks of a suite with TRL's generation, and trains on one row per step.

        trainer = StepwiseGRPOTrainer("Qwen/Qwen2.5-1.5B-Instruct", StepwiseGRPOConfig("out", max_steps=200))
        trainer.train()

    A task's trajectories may be divided among processes: every process gets the records of all, and computes
    all advantages. Losses, reference model, generation, logging, checkpoints and resuming are TRL's.
    """

    args: StepwiseGRPOConfig

    def __init__(self, model: Any, args: StepwiseGRPOConfig, **kwargs: Any) -> None:
        """Create the trainer.

        Args:
            model: a model of transformers or peft, or its folder or name.
            args: the settings.
            kwargs: processing_class, callbacks, optimizers, peft_config and quantization_config of TRL.

        Raises:
            SettingError: if there is no such suite, split or estimator, or if a setting is invalid.
        """
        self.suite, self.estimator = args.episodes.make_suite(), args.make_estimator()
        training = self.suite.splits[0]
        self.tasks = TaskStream(
            self.suite, [training], per_iteration=args.tasks_per_generation, seed=args.seed, limit=None
        )
        splits = self.suite.splits[1:] if args.evaluation_splits is None else args.evaluation_splits
        # The tasks of one generation are drawn together, so a few draws suffice.
        self._drawn = lru_cache(maxsize=4)(self.suite.tasks)
        self._rows: list[Row] = []
        super().__init__(
            model=model,
            reward_funcs=[trajectory_return],
            args=args,
            train_dataset=_numbered(training, args.training_tasks),
            eval_dataset={
                split: _numbered(split, len(tasks_of(self.suite, split, args.evaluation_tasks)))
                for split in splits
            }
            or None,
            **kwargs,
        )
        # As an argument of the constructor it causes a warning that users of this class cannot act on.
        self.rollout_func = self._hand_out
        tokenizer: Any = self.processing_class
        configurations = (self.model.config, self.model.config.get_text_config())
        ends = end_tokens(tokenizer, self.model.generation_config, *configurations)
        self.chat = ChatTokenizer(tokenizer, ends, args.chat_template_kwargs)
        self.agent = SamplingAgent(
            self._sample_with_others,
            self.chat,
            args.episodes.response_format,
            prompt_history=args.prompt_history,
            max_prompt_tokens=args.max_prompt_tokens,
        )

    def _sample_with_others(
        self, prompts: list[list[int]]
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """`_sample`, announced to the other processes; see `_finish`."""
        gather_object([True])
        return self._sample(prompts)

    def _finish(self) -> None:
        """Generate with the other processes until all of them have finished their episodes.

        Some ways of generation are a joint operation of all processes, in which all take part equally often.
        """
        while any(gather_object([False])):
            self._sample([[next(iter(self.chat.ends), 0)]])

    def _sample(self, prompts: list[list[int]]) -> tuple[list[list[int]], list[list[float]] | None]:
        """TRL's generation, with one answer per prompt."""
        single_turn: Any = self._generate_single_turn
        if "num_generations" in inspect.signature(single_turn).parameters:
            return single_turn(prompts, None, {}, num_generations=1)
        with _one_generation(self):
            return single_turn(prompts, None, {})

    def _play(self, tasks: Sequence[tuple[int, Task]]) -> list[Row]:
        """Play each task once and return the rows of all steps; failed trajectories are left out.

        Args:
            tasks: this process's tasks, each with the number of its group.
        """
        trajectories = rollout(
            self.suite,
            self.agent,
            [task for _, task in tasks],
            group_size=1,
            temperature=self.temperature,
            seed=[self.args.seed],
            timeout=self.args.environment_timeout or None,
        )
        self._finish()
        failures = [each.failure for each in trajectories if each.failure is not None]
        if failures:
            logger.warning(
                "%d of %d trajectories failed, the first: %s", len(failures), len(trajectories), failures[0]
            )
        rows = []
        for place, ((group, _), trajectory) in enumerate(zip(tasks, trajectories, strict=True)):
            if trajectory.failure is None:
                name = f"{group}/{self.accelerator.process_index}/{place}"
                records = episode_records(trajectory.steps, task=group, trajectory=name)
                for step, record in zip(trajectory.steps, records, strict=True):
                    answer = step.decision.completion
                    rows.append(Row(record, step.decision.prompt, answer.tokens, answer.logprobs))
        return rows

    def _gathered(self, own: list[Row]) -> list[Row]:
        """The rows of all processes, ordered by process.

        Raises:
            RunError: if there are none.
        """
        rows: list[Row] = gather_object(own)
        if not rows:
            raise RunError("the environment failed in every trajectory of a batch; the first error is logged")
        return rows

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        numbers = [row["number"] for row in inputs]
        references = [self.tasks[number] for number in numbers]
        tasks = [self._drawn(each.split, each.count, each.seed)[each.number] for each in references]
        own = self._play(list(zip(numbers, tasks, strict=True)))
        counts = gather_object([len(own)])
        rows = self._gathered(own)
        records = [row.record for row in rows]
        steps = step_table(
            records,
            prompt_tokens=[row.prompt for row in rows],
            response_tokens=[row.tokens for row in rows],
        )
        advantages = self.estimator(steps)
        # Every process has the same number of rows, which TRL divides into groups and into micro-batches.
        multiple = math.lcm(self.args.num_generations, self.args.steps_per_generation)
        each = math.ceil(max(counts) / multiple) * multiple
        first = sum(counts[: self.accelerator.process_index])
        of_rows = np.zeros(each)
        of_rows[: len(own)] = advantages[first : first + len(own)]
        shortest = replace(min(rows, key=lambda row: len(row.prompt)), padding=True)
        output = self._score([*own, *[shortest] * (each - len(own))])
        output["advantages"] = torch.from_numpy(of_rows).to(output["advantages"])
        output["padding_factor"] = torch.tensor(each * len(counts) / len(rows))
        tried = len(inputs) * len(counts)
        figures = diagnostics(records, steps, advantages, self.estimator, tried=tried)
        self._report({**figures, "padding_rows": each * len(counts) - len(rows)}, of_rows)
        if not any(record.action_valid for record in records):
            logger.warning(no_valid_answer(records, self.chat.decode([row.tokens for row in rows])))
        return output

    def _score(self, rows: list[Row]) -> dict[str, Any]:
        """TRL's batch of these rows, with log-probabilities; its advantages are not used."""
        self._rows = rows
        texts = self.chat.tokenizer.batch_decode([row.prompt for row in rows])
        return super()._generate_and_score_completions(
            [{"prompt": text, "total": row.record.total} for text, row in zip(texts, rows, strict=True)]
        )

    def _hand_out(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """The rows that have already been played, as TRL's `rollout_func` returns them."""
        del prompts, trainer
        # A row needs a token; if none was sampled, it has an end token, which is masked.
        tokens = [row.tokens.tolist() or [next(iter(self.chat.ends), 0)] for row in self._rows]
        reported = any(len(row.logprobs) for row in self._rows)
        return {
            "prompt_ids": [list(row.prompt) for row in self._rows],
            "completion_ids": tokens,
            "logprobs": [row.logprobs.tolist() or [0.0] for row in self._rows] if reported else None,
            "env_mask": [
                [int(not row.padding and len(row.tokens) > 0)] * len(ids)
                for row, ids in zip(self._rows, tokens, strict=True)
            ],
        }

    def _report(self, figures: dict[str, float], advantages: np.ndarray) -> None:
        """Replace TRL's metrics that have no meaning here, and the advantages in its tables of answers."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name in [name for name in metrics if name.startswith(MEANINGLESS)]:
            del metrics[name]
        for name, value in figures.items():
            metrics[f"hgpo/{name}"].append(value)
        of_everyone = gather_object(advantages.tolist())
        self._logs["advantages"].clear()
        self._logs["advantages"].extend(of_everyone)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        # The mean over rows counts padding rows, which add nothing to the sum.
        return loss * inputs["padding_factor"] if self.loss_type in AVERAGED_OVER_ROWS else loss

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Play each task of the held-out splits once, at the training temperature.

        Args:
            eval_dataset: datasets by the names of their splits, as in `self.eval_dataset`, or one of them; by
                default all.
            ignore_keys: has no effect, because no outputs of the model are collected.
            metric_key_prefix: beginning of the names of all metrics.

        Returns:
            For each split the success rate, mean return and number of steps, the mean score if the tasks
            report one, and the fraction of valid actions. A failed trajectory counts as not won.
        """
        chosen = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(chosen, dict):
            return {
                name: value
                for split, tasks in chosen.items()
                for name, value in self.evaluate(tasks, ignore_keys, f"{metric_key_prefix}_{split}").items()
            }
        self.model.eval()
        numbered = [(row["number"], self._drawn(row["split"], None, 0)[row["number"]]) for row in chosen]
        accelerator = self.accelerator
        own = numbered[accelerator.process_index :: accelerator.num_processes]
        rows = self._gathered(self._play(own))
        last = {row.record.trajectory: row.record for row in rows}.values()
        scores = [record.score for record in last if record.score is not None]
        figures = {
            "success_rate": sum(record.won for record in last) / len(numbered),
            **({"score_mean": sum(scores) / len(numbered)} if scores else {}),
            "return_mean": float(np.mean([record.total for record in last])),
            "steps_mean": len(rows) / len(last),
            "valid_action_rate": float(np.mean([row.record.action_valid for row in rows])),
        }
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _numbered(split: str, count: int) -> Dataset:
    """The tasks of a split by number. TRL needs a column of prompts; nothing reads it."""
    return Dataset.from_dict(
        {
            "prompt": [f"{split} {number}" for number in range(count)],
            "split": [split] * count,
            "number": list(range(count)),
        }
    )


@contextmanager
def _one_generation(trainer: Any) -> Iterator[None]:
    """Within the block the trainer's numbers of generations are 1; older versions of TRL read them there."""
    before = trainer.num_generations, trainer.num_generations_eval
    trainer.num_generations = trainer.num_generations_eval = 1
    try:
        yield
    finally:
        trainer.num_generations, trainer.num_generations_eval = before
