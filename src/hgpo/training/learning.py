"""The updates of critic and policy from the rows of an iteration, and the metrics of these updates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hgpo.estimators import ENTROPY_CREDITS, HGPO, CriticEstimator
from hgpo.random_streams import CRITIC, CROSS, UPDATE
from hgpo.steps import StepTable
from hgpo.training.advantage_scale import matched
from hgpo.training.batch import merge_rows, subsample, with_actions
from hgpo.training.choices import default_estimator
from hgpo.training.collapse import answer_metrics
from hgpo.training.config import TrainConfig, mini_batches_of
from hgpo.training.context import RunContext
from hgpo.training.response_entropy import response_entropies
from hgpo.training.schedules import progress_at, warm_up
from hgpo.training.state import TrainingState
from hgpo.training.update import recompute_logprobs, update_policy


def with_values(state: TrainingState, steps: StepTable) -> StepTable:
    """The table with the critic's value of each row; unchanged if there is no critic."""
    if state.critic is None:
        return steps
    return steps.with_values(state.critic.values(_prompts(steps)))


def with_entropy(run: RunContext, state: TrainingState, steps: StepTable) -> StepTable:
    """The table with the entropy of each response; unchanged if no setting needs the entropy."""
    if run.config.entropy_credit == "none":
        return steps
    return steps.with_entropy(response_entropies(state.policy, steps, run.config.temperature, run.processes))


def learn_values(run: RunContext, state: TrainingState, steps: StepTable, iteration: int) -> dict[str, float]:
    """Fit the critic to the rows' returns and return its metrics, which are empty if there is no critic.

    Args:
        run: the settings.
        state: has the critic, which is changed in place.
        steps: the rows, with the values from which their advantages were computed.
        iteration: number of iterations done before.
    """
    if state.critic is None:
        return {}
    estimator = run.config.estimator
    assert isinstance(estimator, CriticEstimator) and steps.value is not None
    targets = estimator.value_targets(steps)
    with run.display.phase("critic") as advance:
        loss = state.critic.fit(_prompts(steps), targets, run.streams.generator(CRITIC, iteration), advance)
    variance = targets.var()
    explained = 1 - (targets - steps.value).var() / variance if variance > 0 else 0.0
    return {"critic_loss": loss, "critic_explained_variance": float(explained)}


def advantages_of(config: TrainConfig, steps: StepTable) -> np.ndarray:
    """The advantages for the update: the estimator's, with entropy credit and scaling if set; [rows]."""
    advantages = ENTROPY_CREDITS[config.entropy_credit](config.estimator)(steps)
    if config.advantage_scale == "own":
        return advantages
    return matched(advantages, steps, default_estimator(HGPO))


def measure_answers(
    run: RunContext, state: TrainingState, steps: StepTable, iteration: int
) -> dict[str, float]:
    """How much the answers vary, and how much they depend on their prompts; see `answer_metrics`.

    Args:
        run: the settings.
        state: has the policy, which sampled the rows.
        steps: the rows.
        iteration: number of iterations done before.
    """
    return answer_metrics(
        state.policy,
        steps,
        prompts=run.config.information_prompts,
        temperature=run.config.temperature,
        rng=run.streams.generator(CROSS, iteration),
    )


@dataclass(frozen=True)
class Coefficients:
    """The coefficients that schedules set for the update of one iteration."""

    learning_rate: float
    entropy_coefficient: float
    kl_coefficient: float


def coefficients_at(
    config: TrainConfig, iteration: int, environment_steps: int, entropy_coefficient: float
) -> Coefficients:
    """The coefficients of an iteration; docs/metrics.md has the formulas.

    Args:
        config: the settings.
        iteration: number of iterations done before.
        environment_steps: number of environment steps done before.
        entropy_coefficient: the loss's coefficient, or the one that keeps the entropy at its target.
    """
    used = 0.0 if config.budget_steps is None else environment_steps / config.budget_steps
    warmup = config.learning_rate_warmup
    progress = progress_at(iteration, config.iterations, budget_used=used)
    after_warmup = progress_at(iteration, config.iterations, warmup=warmup, budget_used=used)
    return Coefficients(
        learning_rate=config.learning_rate
        * warm_up(iteration, warmup)
        * config.learning_rate_decay.fraction(after_warmup),
        entropy_coefficient=entropy_coefficient * config.entropy_decay.fraction(progress),
        kl_coefficient=config.loss.kl_coefficient * config.kl_decay.fraction(progress),
    )


def learn_policy(
    run: RunContext,
    state: TrainingState,
    steps: StepTable,
    advantages: np.ndarray,
    iteration: int,
    environment_steps: int,
    skipped_in_a_row: int,
) -> tuple[dict[str, float], int]:
    """Update the policy; returns metrics, and how many optimizer steps in a row have been skipped at its end.

    Args:
        run: the settings.
        state: has the policy, the optimizer, the weight average and the entropy coefficient, which are
            changed in place.
        steps: the rows.
        advantages: advantage of each row, [rows].
        iteration: number of iterations done before.
        environment_steps: number of environment steps done before.
        skipped_in_a_row: number of optimizer steps that were skipped just before this update.
    """
    config = run.config
    rng = run.streams.generator(UPDATE, iteration)
    kept = subsample(advantages, config.subsample_below, rng)
    batch = merge_rows(steps, kept, merge=config.merge_rows)
    if config.loss.ratio == "action":
        batch = with_actions(batch, state.policy.chat)
    recomputed = {}
    if config.old_logprobs == "recomputed":
        batch, difference = recompute_logprobs(state.policy, batch, config.temperature, run.processes)
        recomputed = {"logprob_mismatch": difference}
    coefficients = coefficients_at(config, iteration, environment_steps, state.entropy_control.coefficient)
    for group in state.optimizer.param_groups:
        group["lr"] = coefficients.learning_rate
    loss = replace(
        config.loss,
        entropy_coefficient=coefficients.entropy_coefficient,
        kl_coefficient=coefficients.kl_coefficient,
    )
    with run.display.phase("update") as advance:
        metrics = update_policy(
            state.policy,
            state.reference,
            state.optimizer,
            loss,
            batch,
            ppo_epochs=config.ppo_epochs,
            num_minibatches=mini_batches_of(config, len(steps)),
            temperature=config.temperature,
            max_response_tokens=state.agent.max_response_tokens,
            max_gradient_norm=config.max_gradient_norm,
            rng=rng,
            skipped_in_a_row=skipped_in_a_row,
            on_rows=advance,
            processes=run.processes,
        )
    if metrics.optimizer_steps_taken:
        # Without an optimizer step, no entropy was measured.
        state.entropy_control.update(metrics.entropy)
    if state.average is not None:
        state.average.update()
    record = {
        **vars(coefficients),
        "update_row_fraction": len(batch) / len(steps),
        "update_tokens": sum(map(len, batch.prompts)) + sum(map(len, batch.responses)),
        **{
            name: value
            for name, value in vars(metrics).items()
            if value is not None and name != "skipped_in_a_row"
        },
        **recomputed,
    }
    return record, metrics.skipped_in_a_row


def _prompts(steps: StepTable) -> list[tuple[int, ...]]:
    assert steps.prompt_tokens is not None
    return [tuple(prompt.tolist()) for prompt in steps.prompt_tokens]
