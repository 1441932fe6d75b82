"""Experimental: a rollout worker for TRL's `AsyncGRPOTrainer`, with one sample per step."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import Any

import numpy as np

from hgpo.adapters.hooks import Hook, check_hook
from hgpo.adapters.step_records import diagnostics, episode_records, step_table
from hgpo.adapters.task_stream import TaskStream
from hgpo.envs.base import TaskSuite
from hgpo.errors import RunError, SettingError
from hgpo.estimators import Estimator
from hgpo.rollouts.agent import Agent
from hgpo.rollouts.rollout import rollout

SAMPLE = Hook(
    "trl.experimental.async_grpo.async_rollout_worker:RolloutSample",
    (
        *("prompt", "completion", "input_ids", "completion_mask", "old_log_probs", "advantage"),
        *("model_version", "group_id", "metrics", "enqueued_at"),
    ),
    "StepwiseRolloutWorker",
)
"""What TRL's queue holds. Experimental parts of TRL change between versions; older ones have fewer fields."""


class StepwiseRolloutWorker:
    """Plays one task after the other in a thread, and puts one sample per step into TRL's queue.

        worker = StepwiseRolloutWorker(HouseholdSuite(), agent, HGPO(), group_size=8)
        trainer = AsyncGRPOTrainer("model", args=args, train_dataset=unused, rollout_worker=worker)

    The samples of a task are put together. TRL drops those whose weights are older than `max_staleness`.
    """

    def __init__(
        self,
        suite: TaskSuite,
        agent: Agent,
        estimator: Estimator,
        *,
        group_size: int,
        tasks: int = 1,
        temperature: float = 1.0,
        seed: int = 0,
        timeout: float | None = 60.0,
        capacity: int = 1024,
    ) -> None:
        """Prepare the queues; `start` begins to play.

        Args:
            suite: the training tasks.
            agent: plays them, such as a `LanguageAgent`. Its answers have tokens and log-probabilities, by a
                model that TRL's weight transfer keeps up to date.
            estimator: computes the advantages.
            group_size: number of trajectories per task.
            tasks: number of tasks that are played together.
            temperature, timeout: as in `rollout`.
            seed: seed of tasks and sampling.
            capacity: number of samples that may wait in the queue.

        Raises:
            SettingError: if the samples of the installed TRL have other fields.
        """
        problem = check_hook(SAMPLE, "trl").problem
        if problem is not None:
            raise SettingError(f"the experimental rollout worker does not fit: RolloutSample {problem}")
        self.rollout_buffer: queue.Queue[Any] = queue.Queue(capacity)
        self.metrics_queue: queue.Queue[Any] = queue.Queue()
        self._suite, self._agent, self._estimator = suite, agent, estimator
        self._group_size, self._temperature, self._timeout = group_size, temperature, timeout
        self._tasks = TaskStream(suite, suite.splits[:1], per_iteration=tasks, seed=seed, limit=None)
        self._version = 0
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._last_sample = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="hgpo-rollouts", daemon=True)

    def start(self) -> None:
        """Begin to play."""
        self._last_sample = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current step of the agent."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=60)

    def update_model_version(self, model_version: int) -> None:
        """Note the version of the weights with which later tasks are played."""
        self._version = model_version

    def check_health(self, stale_after_s: float) -> None:
        """Raise an error if playing has failed, or if no sample came for `stale_after_s` seconds."""
        if self._error is not None:
            raise RunError(f"the rollout worker has failed: {self._error}") from self._error
        waited = time.monotonic() - self._last_sample
        if waited > stale_after_s:
            raise RunError(f"the rollout worker has played no task for {waited:.0f} seconds")

    def _run(self) -> None:
        try:
            for number in itertools.count():
                for sample in self._samples(number):
                    if not self._put(sample):
                        return
                self._last_sample = time.monotonic()
        # The error is raised in the trainer's thread, by `check_health`.
        except Exception as error:
            self._error = error

    def _put(self, sample: Any) -> bool:
        """Wait for room in the queue; returns False once the worker is stopped."""
        while not self._stopped.is_set():
            try:
                self.rollout_buffer.put(sample, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _samples(self, number: int) -> list[Any]:
        """The samples of the tasks that are played together, with their advantages."""
        from trl.experimental.async_grpo.async_rollout_worker import (  # pyright: ignore[reportMissingImports]
            RolloutSample,
        )

        version, per_iteration = self._version, self._tasks.per_iteration
        first = self._tasks[number * per_iteration]
        tasks = self._suite.tasks(first.split, first.count, first.seed)
        trajectories = rollout(
            self._suite,
            self._agent,
            tasks,
            group_size=self._group_size,
            temperature=self._temperature,
            seed=[first.seed],
            timeout=self._timeout,
        )
        kept = [trajectory for trajectory in trajectories if trajectory.failure is None]
        if not kept:
            raise RunError(f"the environment failed in every trajectory: {trajectories[0].failure}")
        group_of = {each.trajectory_id: number * per_iteration + each.group for each in kept}
        records = [
            record
            for each in kept
            for record in episode_records(each.steps, task=each.group_id, trajectory=each.trajectory_id)
        ]
        decisions = [step.decision for each in kept for step in each.steps]
        steps = step_table(
            records,
            prompt_tokens=[decision.prompt for decision in decisions],
            response_tokens=[decision.completion.tokens for decision in decisions],
        )
        advantages = self._estimator(steps)
        figures = diagnostics(records, steps, advantages, self._estimator, tried=len(trajectories))
        self.metrics_queue.put({f"hgpo/{name}": value for name, value in figures.items()})
        return [
            RolloutSample(
                prompt=[{"role": "user", "content": record.observation}],
                completion=[{"role": "assistant", "content": decision.completion.answer.transcript}],
                input_ids=np.concatenate([decision.prompt, decision.completion.tokens]).astype(np.int64),
                completion_mask=_behind(decision.prompt, np.ones(len(decision.completion.tokens), np.int64)),
                old_log_probs=_behind(decision.prompt, decision.completion.logprobs),
                advantage=float(advantage),
                model_version=version,
                group_id=group_of[str(record.trajectory)],
                metrics={"return": record.total},
                enqueued_at=time.time(),
            )
            for record, decision, advantage in zip(records, decisions, advantages, strict=True)
        ]


def _behind(prompt: tuple[int, ...], values: np.ndarray) -> np.ndarray:
    """Values of an answer's tokens, after a 0 for each token of the prompt."""
    return np.concatenate([np.zeros(len(prompt), values.dtype), values])
