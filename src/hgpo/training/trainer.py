"""The training run: warm start, then rollout, advantages and update, again and again.

The trainer does not know which estimator, which games or which model it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hgpo.agents.language import LanguageAgent
from hgpo.distributed import Alone, Crew
from hgpo.envs.base import Task, describe, require_tasks, tasks_of
from hgpo.errors import RunError, SettingError
from hgpo.estimators import CriticEstimator
from hgpo.files import reason
from hgpo.policies.critic import Critic
from hgpo.policies.engines import ENGINES
from hgpo.policies.loading import load_policy, load_with_new_adapter
from hgpo.policies.reference import load_reference
from hgpo.policies.tiny import create_policy
from hgpo.policies.transformers import TransformersPolicy
from hgpo.random_streams import (
    CRITIC,
    EVALUATION,
    PROBE,
    ROLLOUT,
    TASKS,
    UPDATE,
    WARM_ORDER,
    WARM_TASKS,
    WEIGHTS,
    Streams,
)
from hgpo.rollouts.dynamic_sampling import Sample, sample_groups
from hgpo.rollouts.episodes import Trajectory
from hgpo.rollouts.evaluate import evaluate_panel, no_valid_answer
from hgpo.rollouts.prompts import RESPONSE_FORMATS, Turn
from hgpo.rollouts.rollout import rollout_together, step_table
from hgpo.rollouts.token_lengths import answer_tokens_needed, prompt_tokens_needed, random_turns
from hgpo.runs.display import Display, NoDisplay
from hgpo.runs.folder import RunLog, SilentLog
from hgpo.runs.interrupts import uninterrupted
from hgpo.runs.trackers import Trackers
from hgpo.steps import StepTable
from hgpo.training.batch import merge_rows, thin_out
from hgpo.training.checkpoint import (
    checkpoint_iteration,
    latest_checkpoint,
    load_checkpoint,
    load_critic,
    load_optimizer,
    not_written,
    save_checkpoint,
    save_reference,
)
from hgpo.training.config import TrainConfig, save_config, to_json
from hgpo.training.imitation import demonstrations, imitate
from hgpo.training.metrics import advantage_metrics, group_metrics, rollout_metrics
from hgpo.training.update import UpdateMetrics, recompute_logprobs, update_policy

MAX_COMMANDS = 60
"""The highest command number that a model made here has a token for."""
MAX_SKIPPED = 3
"""So many optimizer steps in a row without a finite gradient end a run."""
LEFT_OUT, TRIED_AGAIN = "it is left out", "it is tried again with what comes next"
"""What becomes of a file that cannot be written."""
MAX_STEPS = 100
"""The highest step number that a model made here has a token for, where prompts tell it."""


class Trainer:
    """One run, at the point between two iterations."""

    def __init__(
        self, config: TrainConfig, folder: Path, display: Display | None = None, crew: Crew | None = None
    ) -> None:
        """Make the run's policy; nothing is trained or written yet.

        Args:
            config: the settings.
            folder: the run's folder, new or that of the run to go on with.
            display: where progress is shown.
            crew: the processes that train together; each has a trainer, the first one writes and shows.

        Raises:
            SettingError: if a setting cannot work with these games or this model.
        """
        self.config = config
        self.crew = crew or Alone()
        self.is_first = self.crew.rank == 0
        self.log = RunLog(folder) if self.is_first else SilentLog(folder)
        self.display = display if display is not None and self.is_first else NoDisplay()
        self.suite = config.env
        self.streams = Streams(config.seed)
        self.response_format = RESPONSE_FORMATS[config.response]
        config.set_threads()
        self.compute = config.compute()
        if config.device is None and self.crew.device is not None:
            self.compute = replace(self.compute, device=self.crew.device, threads=1)
        self.iteration = 0
        self.environment_steps = 0
        self.skipped_in_a_row = 0
        self._not_written: set[str] = set()
        self.policy = self._initial_policy()
        self.agent = language_agent(self.config, self.policy)
        require_tasks(self.suite, self.suite.splits[1:], config.evaluation_games)
        self._check_history_fits()

    def run(self) -> list[dict[str, Any]]:
        """Train to the last iteration, from the start or from the latest checkpoint; all evaluations.

        On KeyboardInterrupt the state after the last whole iteration is saved before it is passed on.

        Raises:
            RunError: if the run cannot go on, or another process is training in its folder.
            SettingError: if the folder holds what is no run's in the place of a run's files.
        """
        self.display.say(f"games: {describe(self.suite)}")
        with self.log.alone():
            self._run()
        return self.log.read_evaluations()

    def _run(self) -> None:
        self.log.require_own_folder()
        checkpoint = latest_checkpoint(self.log.checkpoints)
        if checkpoint is None:
            self._start()
        else:
            self._go_back_to(checkpoint)
        track = self.config.track if self.is_first else ()
        trackers = Trackers(track, self.log.folder, to_json(self.config), self.display.say)
        try:
            trackers.send(self.log.read_metrics, self.log.read_evaluations)
            while not self._finished():
                self._iterate()
                every = self.config.evaluate_every
                if self._finished() or (every and self.iteration % every == 0):
                    self._evaluate()
                if self._finished() or self.iteration % self.config.checkpoint_every == 0:
                    self._save()
                trackers.send(self.log.read_metrics, self.log.read_evaluations)
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            trackers.close()

    def _finished(self) -> bool:
        config = self.config
        out_of_budget = config.budget_steps is not None and self.environment_steps >= config.budget_steps
        return self.iteration >= config.iterations or out_of_budget

    def _start(self) -> None:
        self.log.go_back(-1)
        if self.is_first:
            save_config(self.config, self.log.config)
        self._warm_start()
        if self.is_first:
            save_reference(self.log.reference, self.policy)
        self._wait_for_the_first()
        self._new_engine()
        self.reference = load_reference(self.log.reference, self.policy)
        self.optimizer = self._new_optimizer()
        self.critic = self._new_critic()
        self._evaluate()
        self._save()

    def _go_back_to(self, checkpoint: Path) -> None:
        self.iteration = checkpoint_iteration(checkpoint)
        self.policy = load_checkpoint(checkpoint, self.compute)
        self.agent = language_agent(self.config, self.policy)
        self._new_engine()
        self.reference = load_reference(self.log.reference, self.policy)
        self.optimizer = self._new_optimizer()
        load_optimizer(checkpoint, self.optimizer)
        self.critic = self._new_critic()
        # Before the first iteration a critic knows nothing, whatever run made the checkpoint.
        if self.critic is not None and self.iteration > 0:
            load_critic(checkpoint, self.critic)
        self.log.go_back(self.iteration)
        self._wait_for_the_first()
        self.environment_steps = sum(record["environment_steps"] for record in self.log.read_metrics())
        self.display.say(f"going on after iteration {self.iteration}")

    def _wait_for_the_first(self) -> None:
        """Go on when the first process has come so far, as what it wrote is read next."""
        self.crew.agree(None)

    def _save(self) -> None:
        if not self.is_first:
            return
        with uninterrupted():
            try:
                # A run that goes on from the checkpoint needs what was measured before it.
                self.log.write_what_is_left()
            except OSError as error:
                raise not_written(self.log.checkpoints, self.iteration, error) from error
            save_checkpoint(self.log.checkpoints, self.iteration, self.policy, self.optimizer, self.critic)

    def _try_to_write(self, name: str, write: Callable[[], None], otherwise: str) -> None:
        """Write what the run can do without for now; where that fails, it is said once, and the run goes on.

        The state is saved then, if that is possible, as it may be the last time that it is.

        Args:
            name: what is written.
            write: writes it.
            otherwise: what becomes of it where it cannot be written.
        """
        try:
            write()
        except OSError as error:
            if name in self._not_written:
                return
            self._not_written.add(name)
            self.display.say(f"{name} cannot be written ({reason(error)}): {otherwise}, and the run goes on")
            with suppress(RunError):
                self._save()

    def _initial_policy(self) -> TransformersPolicy:
        config = self.config
        if config.model is not None and config.lora.rank:
            return load_with_new_adapter(
                config.model, self.compute, config.lora, seed=self.streams.integer(WEIGHTS)
            )
        if config.model is not None:
            return load_policy(config.model, self.compute)
        turns = [Turn("", (("", ""),), "", (), step) for step in range(1, MAX_STEPS)]
        return create_policy(
            [*map(self.response_format.prompt, turns), *self.suite.texts()],
            config.tiny,
            max_tokens=config.max_prompt_tokens + (config.max_response_tokens or 32),
            max_commands=MAX_COMMANDS,
            seed=self.streams.integer(WEIGHTS),
            compute=self.compute,
        )

    def _check_history_fits(self) -> None:
        config = self.config
        needed = prompt_tokens_needed(
            _probe(config), self.policy.encode, self.response_format, config.history_length
        )
        if needed > config.max_prompt_tokens:
            raise SettingError(
                f"--history-length {config.history_length} needs prompts of up to {needed} tokens in these "
                f"games, but --max-prompt-tokens is {config.max_prompt_tokens}: lower one or raise the other"
            )

    def _training_tasks(self, count: int, *stream: int) -> list[Task]:
        return _training_tasks(self.config, count, *stream)

    def _new_engine(self) -> None:
        """Let the agent sample from the engine that the settings name."""
        max_tokens = self.agent.max_prompt_tokens + self.agent.max_response_tokens
        self.engine = ENGINES[self.config.engine](
            self.policy,
            self.log.folder / "engine" / str(self.crew.rank),
            max_tokens=max_tokens,
            memory_share=self.config.engine_memory,
        )
        self.agent = replace(self.agent, policy=self.engine)
        self.engine.synchronize()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        parameters = [p for p in self.policy.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(parameters, lr=self.config.learning_rate, weight_decay=0.0)

    def _new_critic(self) -> Critic | None:
        """A critic with the body of the reference policy, where the estimator needs one."""
        if not isinstance(self.config.estimator, CriticEstimator):
            return None
        return Critic(load_policy(self.log.reference, self.compute), self.config.critic)

    def _warm_start(self) -> None:
        settings = self.config.warm_start
        if settings.games == 0:
            return
        rows = demonstrations(
            self.suite,
            self.policy,
            self._training_tasks(settings.games, WARM_TASKS),
            response_format=self.response_format,
            history_length=self.agent.history_length,
            max_prompt_tokens=self.agent.max_prompt_tokens,
            max_response_tokens=self.agent.max_response_tokens,
        )
        with self.display.phase("warm start") as advance:
            losses = imitate(
                self.policy, rows, settings, self.streams.generator(WARM_ORDER), advance, self.crew
            )
        self.display.say(
            f"warm start: imitated {len(rows)} steps of walkthroughs of {settings.games} games, "
            f"cross-entropy {losses[0]:.2f} → {losses[-1]:.2f} nats a token"
        )

    def _iterate(self) -> None:
        started = time.perf_counter()
        sample = self._rollout()
        steps = step_table(sample.kept, policy_version=self.iteration)
        rolled_out = time.perf_counter()
        steps = self.config.overlong(steps, self.agent.max_response_tokens)
        if self.critic is not None:
            steps = steps.with_values(self.critic.values(_prompts(steps)))
        # A critic's values may differ in the last digit between GPUs, and all have to see the same rows.
        advantages = self.crew.agree(self.config.estimator(steps))
        estimated = time.perf_counter()
        if self.config.keep_rollouts:
            self._try_to_write(
                "rollouts/",
                lambda: self.log.rollouts("rollouts", self.iteration + 1, sample.kept, steps),
                LEFT_OUT,
            )
        with uninterrupted():
            critic_metrics = self._fit_critic(steps)
            metrics = self._update(steps, advantages)
            self.engine.synchronize()
            self.iteration += 1
            ended = time.perf_counter()
            record = {
                "iteration": self.iteration,
                **rollout_metrics(sample, steps),
                **group_metrics(steps, self.config.history_length),
                **advantage_metrics(advantages),
                **critic_metrics,
                **metrics,
                "seconds_rollout": rolled_out - started,
                "seconds_advantages": estimated - rolled_out,
                "seconds_update": ended - estimated,
                "seconds": ended - started,
                "memory_gib": self._peak_memory(),
            }
            self.environment_steps += record["environment_steps"]
            self._try_to_write("metrics.jsonl", lambda: self.log.metrics(record), TRIED_AGAIN)
        if self.skipped_in_a_row >= MAX_SKIPPED:
            self._save()
            raise RunError(
                f"loss or gradient was not finite in {self.skipped_in_a_row} optimizer steps in a row; they "
                f"were not taken, and the state is saved in {self.log.folder}. A lower --learning-rate or a "
                "longer --learning-rate-warmup may help, in a new run"
            )
        every = self.config.sample_every
        if every and (self.iteration % every == 0 or self._finished()):
            self._try_to_write("samples/", lambda: self._write_sample(sample, steps), LEFT_OUT)
        self.display.iteration(record, self.config.iterations)

    def _write_sample(self, sample: Sample, steps: StepTable) -> None:
        self.log.sample(self.iteration, sample.tried[:: self.config.group_size][:4])
        self.log.rollouts("samples", self.iteration, sample.kept, steps)

    def _peak_memory(self) -> float:
        """GiB of the GPU's memory that tensors took at most since the last call."""
        if self.compute.device.type != "cuda":
            return 0.0
        peak = torch.cuda.max_memory_allocated(self.compute.device)
        torch.cuda.reset_peak_memory_stats(self.compute.device)
        return peak / 2**30

    def _rollout(self) -> Sample:
        with self.display.phase("rollout") as advance:

            def roll_out(number: int) -> list[Trajectory]:
                # The first round's streams carry no number, as there is only one without dynamic sampling.
                place = (self.iteration, number) if number else (self.iteration,)
                return rollout_together(
                    self.crew,
                    self.suite,
                    self.agent,
                    self._training_tasks(self.config.tasks_per_iteration, TASKS, *place),
                    group_size=self.config.group_size,
                    temperature=self.config.temperature,
                    seed=[self.config.seed, ROLLOUT, *place],
                    on_step=lambda finished, live: advance(finished, finished + live),
                    timeout=self._timeout,
                )

            sample = sample_groups(
                roll_out,
                groups=self.config.tasks_per_iteration,
                group_size=self.config.group_size,
                max_rounds=self.config.sampling_rounds,
            )
        lost = [trajectory for trajectory in sample.tried if trajectory.lost is not None]
        if lost:
            self.display.say(
                f"{len(lost)} of {len(sample.tried)} trajectories lost, the first {lost[0].trajectory_id}: "
                f"{lost[0].lost}"
            )
        if not sample.kept:
            raise RunError(
                f"every environment failed in iteration {self.iteration + 1}, the first with: "
                f"{lost[0].lost}; mend it (hgpo env check) and go on with hgpo train --resume "
                f"{self.log.folder}"
            )
        return sample

    @property
    def _timeout(self) -> float | None:
        return self.config.environment_timeout or None

    def _fit_critic(self, steps: StepTable) -> dict[str, float]:
        if self.critic is None:
            return {}
        assert isinstance(self.config.estimator, CriticEstimator) and steps.value is not None
        targets = self.config.estimator.value_targets(steps)
        with self.display.phase("critic") as advance:
            loss = self.critic.fit(
                _prompts(steps), targets, self.streams.generator(CRITIC, self.iteration), advance
            )
        variance = targets.var()
        explained = 1 - (targets - steps.value).var() / variance if variance > 0 else 0.0
        return {"critic_loss": loss, "critic_explained_variance": float(explained)}

    def _learning_rate(self) -> float:
        """Of the coming update: it rises linearly over the first iterations."""
        warmup = self.config.learning_rate_warmup
        return self.config.learning_rate * min(1.0, (self.iteration + 1) / (warmup + 1))

    def _update(self, steps: StepTable, advantages: np.ndarray) -> dict[str, float]:
        rng = self.streams.generator(UPDATE, self.iteration)
        kept = thin_out(advantages, self.config.thin_out_below, rng)
        batch = merge_rows(steps, kept, merge=self.config.merge_rows)
        recomputed = {}
        if self.config.old_logprobs == "recomputed":
            batch, difference = recompute_logprobs(self.policy, batch, self.config.temperature, self.crew)
            recomputed = {"sampler_difference": difference}
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        with self.display.phase("update") as advance:
            metrics: UpdateMetrics = update_policy(
                self.policy,
                self.reference,
                self.optimizer,
                self.config.loss,
                batch,
                passes=self.config.passes,
                optimizer_steps=self._optimizer_steps(len(steps)),
                temperature=self.config.temperature,
                max_response_tokens=self.agent.max_response_tokens,
                max_gradient_norm=self.config.max_gradient_norm,
                rng=rng,
                skipped_in_a_row=self.skipped_in_a_row,
                on_rows=advance,
                crew=self.crew,
            )
        self.skipped_in_a_row = metrics.skipped_in_a_row
        return {
            "learning_rate": self._learning_rate(),
            "update_row_share": len(batch) / len(steps),
            "update_tokens": sum(map(len, batch.prompts)) + sum(map(len, batch.responses)),
            **{name: value for name, value in vars(metrics).items() if name != "skipped_in_a_row"},
            **recomputed,
        }

    def _optimizer_steps(self, rows: int) -> int:
        """Mini-batches of a pass over so many rows."""
        if self.config.mini_batch_rows is None:
            return self.config.optimizer_steps
        return -(-rows // self.config.mini_batch_rows)

    def _evaluate(self) -> None:
        results, started = [], time.perf_counter()
        for split in self.suite.splits[1:]:
            for temperature in (0.0, self.config.evaluation_temperature):
                with self.display.phase(split) as advance:
                    result = evaluate_panel(
                        self.suite,
                        self.agent,
                        split,
                        temperature=temperature,
                        seed=[self.config.seed, EVALUATION],
                        games=self.config.evaluation_games,
                        on_step=lambda finished, live, advance=advance: advance(finished, finished + live),
                        timeout=self._timeout,
                        crew=self.crew,
                    )
                results.append(result)
        with uninterrupted():
            seconds = (time.perf_counter() - started) / len(results)
            self._try_to_write(
                "evaluations.jsonl",
                lambda: self.log.evaluation(self.iteration, results, seconds),
                TRIED_AGAIN,
            )
        warning = no_valid_answer("the agent", [result.answers for result in results])
        if warning is not None:
            self.display.warn(warning)
        rates = ", ".join(f"{r.split} {r.success.rate:.1%}" for r in results if r.temperature == 0)
        self.display.say(f"evaluation after {self.iteration} iterations, greedy: {rates}")


def language_agent(config: TrainConfig, policy: TransformersPolicy) -> LanguageAgent:
    """The agent of a run with these settings, with this policy."""
    response_format = RESPONSE_FORMATS[config.response]
    return LanguageAgent(
        policy,
        response_format,
        history_length=config.history_length,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens
        or answer_tokens_needed(_probe(config), policy.chat.encode_answer, response_format),
    )


def _probe(config: TrainConfig) -> list[Turn]:
    streams = Streams(config.seed)
    return random_turns(config.env, _training_tasks(config, 12, PROBE), streams.generator(PROBE))


def _training_tasks(config: TrainConfig, count: int, *stream: int) -> list[Task]:
    suite = config.env
    return list(tasks_of(suite, suite.splits[0], count, seed=Streams(config.seed).integer(*stream)))


def _prompts(steps: StepTable) -> list[tuple[int, ...]]:
    assert steps.prompt_tokens is not None
    return [tuple(prompt.tolist()) for prompt in steps.prompt_tokens]
