"""The training loop: rollout, advantages and update, with evaluations, checkpoints and metrics in between.

It does not depend on the estimator, the environment or the models: these are in the settings and the state.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from hgpo.distributed import ProcessGroup
from hgpo.envs.base import describe
from hgpo.errors import RunError
from hgpo.rollouts.dynamic_sampling import Sample
from hgpo.rollouts.evaluate import failed_episodes, no_valid_answer
from hgpo.rollouts.rollout import step_table
from hgpo.runs.display import Display
from hgpo.runs.interrupts import deferred_signals
from hgpo.runs.trackers import Trackers
from hgpo.steps import StepTable
from hgpo.training import learning
from hgpo.training.checkpoint import not_written
from hgpo.training.checkpoint_folder import latest_checkpoint
from hgpo.training.collapse import CollapseWatch
from hgpo.training.config import TrainConfig, depth_warning, save_config, to_json
from hgpo.training.context import open_context
from hgpo.training.evaluation import evaluate_splits
from hgpo.training.memory import older_objects_left_alone
from hgpo.training.metrics import advantage_metrics, group_metrics, peak_memory, rollout_metrics
from hgpo.training.open_run import weights_in_words
from hgpo.training.optional_files import LEFT_OUT, TRIED_AGAIN, OptionalFiles
from hgpo.training.outcome import worse_than_start
from hgpo.training.rollout_source import Rollouts, RolloutSource, rollout_source
from hgpo.training.state import TrainingState, find_starting_point, new_state, restored_state

MAX_SKIPPED = 3
"""Number of optimizer steps in a row without a finite gradient that ends a run."""


class Trainer:
    """Trains one run, iteration by iteration."""

    state: TrainingState
    """The models; set by `run`."""
    rollouts: RolloutSource
    """Samples the rollouts; set by `run`."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        display: Display | None = None,
        processes: ProcessGroup | None = None,
    ) -> None:
        """Make the run's policy, or read it from the latest checkpoint; nothing is trained or written yet.

        Args:
            config: the settings.
            folder: the run's folder: a new one, or that of the run to continue.
            display: where progress is shown.
            processes: the processes that train together; each has a trainer, the first one writes and shows.

        Raises:
            SettingError: if a setting cannot work with this environment or this model, or if files in the
                folder have the names of a run's files but do not belong to a run.
        """
        self.context = open_context(config, folder, display, processes)
        self.config, self.log = config, self.context.log
        self.display, self.processes = self.context.display, self.context.processes
        self.start = find_starting_point(self.context)
        self.files = OptionalFiles(self.display.say, self._save)
        self.iteration = 0
        self.environment_steps = 0
        self.skipped_in_a_row = 0
        self.collapse = CollapseWatch()

    def run(self) -> list[dict[str, Any]]:
        """Train to the last iteration, from the start or from the latest checkpoint; returns all evaluations.

        On KeyboardInterrupt the state after the last complete iteration is saved, then the error is raised.

        Raises:
            RunError: if the run cannot continue, or if another process is training in its folder.
            SettingError: if a checkpoint cannot be read.
        """
        self.display.say(f"tasks: {describe(self.config.env)}")
        warning = depth_warning(self.config)
        if warning is not None:
            self.display.warn(warning)
        with self.log.alone():
            self._set_up()
            with older_objects_left_alone():
                self._loop()
        evaluations = self.log.read_evaluations()
        warning = worse_than_start(evaluations, self.log.read_metrics())
        if warning is not None:
            self.display.warn(warning)
        return evaluations

    def _set_up(self) -> None:
        """Start the run, or go back to the state of its latest checkpoint."""
        start, checkpoint = self.start, latest_checkpoint(self.log.checkpoints)
        if checkpoint != start.checkpoint:
            # Another process has trained in the folder since this trainer was made.
            start = find_starting_point(self.context)
        if checkpoint is None:
            self.log.go_back(-1)
            if self.context.is_first:
                save_config(self.config, self.log.config)
            self.state = new_state(self.context, start)
            self._evaluate()
            self._save()
            return
        self.state = restored_state(self.context, start, checkpoint)
        self.iteration = start.iteration
        self.log.go_back(self.iteration)
        self.context.wait_for_first()
        for record in self.log.read_metrics():
            self.environment_steps += record["environment_steps"]
            self.collapse.add(record)
        self.display.say(f"continuing after iteration {self.iteration}")

    def _loop(self) -> None:
        track = self.config.track if self.context.is_first else ()
        trackers = Trackers(track, self.log.folder, to_json(self.config), self.display.say)
        self.rollouts = rollout_source(self.context, self.state)
        try:
            trackers.send(self.log.read_metrics, self.log.read_evaluations)
            while not self._finished():
                self._iterate()
                every = self.config.evaluate_every
                if self._finished() or (every and self.iteration % every == 0):
                    self.rollouts.settle()
                    self._evaluate()
                if self._finished() or self.iteration % self.config.checkpoint_every == 0:
                    self._save()
                trackers.send(self.log.read_metrics, self.log.read_evaluations)
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            self.rollouts.close()
            trackers.close()

    def _finished(self) -> bool:
        config = self.config
        out_of_budget = config.budget_steps is not None and self.environment_steps >= config.budget_steps
        return self.iteration >= config.iterations or out_of_budget

    def _iterate(self) -> None:
        started = time.perf_counter()
        rollouts = self._rollout()
        sample = rollouts.sample
        steps = step_table(sample.kept, policy_version=rollouts.policy_version)
        rolled_out = time.perf_counter()
        steps = self.config.overlong(steps, self.state.agent.max_response_tokens)
        steps = learning.with_values(self.state, steps)
        steps = learning.with_entropy(self.context, self.state, steps)
        # Values and entropies may differ in the last digit between GPUs; all must use the same advantages.
        advantages = self.processes.broadcast(learning.advantages_of(self.config, steps))
        estimated = time.perf_counter()
        if self.config.keep_rollouts:
            self.files.write(
                "rollouts/",
                lambda: self.log.rollouts("rollouts", self.iteration + 1, sample.kept, steps),
                LEFT_OUT,
            )
        with deferred_signals():
            self.rollouts.before_update(self.iteration, last=self.iteration + 1 >= self.config.iterations)
            learned = self._update(steps, advantages)
            self.iteration += 1
            ended = time.perf_counter()
            record = {
                "iteration": self.iteration,
                **rollout_metrics(sample, steps),
                **group_metrics(self.config.estimator.comparison(steps)),
                **advantage_metrics(advantages),
                **learned,
                "seconds_rollout": rolled_out - started,
                "seconds_advantages": estimated - rolled_out,
                "seconds_update": ended - estimated,
                "seconds": ended - started,
                "memory_gib": peak_memory(self.context.compute.device),
            }
            self.environment_steps += record["environment_steps"]
            self.files.write("metrics.jsonl", lambda: self.log.metrics(record), TRIED_AGAIN)
        if self.skipped_in_a_row >= MAX_SKIPPED:
            self._save()
            raise RunError(
                f"loss or gradient was not finite in {self.skipped_in_a_row} optimizer steps in a row; they "
                f"were not taken, and the state is saved in {self.log.folder}. A lower --learning-rate or a "
                "longer --learning-rate-warmup may help, in a new run"
            )
        every = self.config.sample_every
        if every and (self.iteration % every == 0 or self._finished()):
            self.files.write("samples/", lambda: self._write_sample(sample, steps), LEFT_OUT)
        self.display.iteration(record, self.config.iterations)
        warning = self.collapse.add(record)
        if warning is not None:
            self.display.warn(warning)

    def _rollout(self) -> Rollouts:
        return self.rollouts.take(self.iteration)

    def _update(self, steps: StepTable, advantages: np.ndarray) -> dict[str, float]:
        answers = learning.measure_answers(self.context, self.state, steps, self.iteration)
        values = learning.learn_values(self.context, self.state, steps, self.iteration)
        metrics, self.skipped_in_a_row = learning.learn_policy(
            self.context,
            self.state,
            steps,
            advantages,
            self.iteration,
            self.environment_steps,
            self.skipped_in_a_row,
        )
        return {**answers, **values, **metrics}

    def _evaluate(self) -> None:
        started = time.perf_counter()
        with self.state.evaluated_weights():
            results = evaluate_splits(self.context, self.state.agent)
        with deferred_signals():
            seconds = (time.perf_counter() - started) / len(results)
            self.files.write(
                "evaluations.jsonl",
                lambda: self.log.evaluation(self.iteration, results, seconds),
                TRIED_AGAIN,
            )
        for result in results:
            if (failed := failed_episodes(result)) is not None:
                self.display.say(f"evaluation at temperature {result.temperature:g}, {failed}")
        warning = no_valid_answer("the agent", [result.answers for result in results])
        if warning is not None:
            self.display.warn(warning)
        rates = ", ".join(f"{r.split} {r.success.rate:.1%}" for r in results if r.temperature == 0)
        weights = weights_in_words(self.config)
        self.display.say(f"evaluation after {self.iteration} iterations{weights}, greedy: {rates}")

    def _write_sample(self, sample: Sample, steps: StepTable) -> None:
        self.log.sample(self.iteration, sample.tried[:: self.config.group_size][:4])
        self.log.rollouts("samples", self.iteration, sample.kept, steps)

    def _save(self) -> None:
        if not self.context.is_first:
            return
        with deferred_signals():
            try:
                # A run that continues from the checkpoint needs the metrics from before it.
                self.log.write_what_is_left()
            except OSError as error:
                raise not_written(self.log.checkpoints, self.iteration, error) from error
            self.state.save(self.log.checkpoints, self.iteration)
