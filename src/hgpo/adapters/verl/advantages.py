"""The estimators as verl's advantage functions, registered by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hgpo.adapters.step_records import StepRecord, step_table
from hgpo.adapters.verl.rows import step_rows
from hgpo.adapters.verl.settings import PREFIX, entropy_credit_of, estimator_of
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, CriticEstimator
from hgpo.rounding import kept_rounding
from hgpo.steps import StepTable


@dataclass
class AdvantageContext:
    """Data that the trainer and the advantage function exchange in addition to verl's own arguments."""

    steps: StepTable
    """The batch's steps."""
    places: NDArray[np.int64]
    """Index of each step's row in the batch; all other rows are padding."""
    scores: NDArray[np.float32]
    """The return of each step's trajectory, with verl's precision."""
    read: StepTable | None = None
    """The steps that the estimator received, with verl's penalties subtracted from the rewards."""
    advantages: NDArray[np.float64] | None = None
    """The advantages, one per step, once they are computed."""


def advantage_context(
    rows: Sequence[StepRecord], places: NDArray[np.int64], **columns: Any
) -> AdvantageContext:
    """The advantage context of a batch.

    Args:
        rows: the steps.
        places: the indices of their rows in the batch.
        columns: further columns of the step table.
    """
    scores = np.array([row.total for row in rows], dtype=np.float32)
    return AdvantageContext(step_table(rows, **columns), places, scores)


_CONTEXT: ContextVar[AdvantageContext | None] = ContextVar("advantage_context", default=None)


@contextmanager
def active(context: AdvantageContext) -> Iterator[None]:
    """Within the block, advantage functions take their steps from this context."""
    token = _CONTEXT.set(context)
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def stepwise_advantages(
    adv_estimator: str,
    config: Mapping[str, Any],
    context: AdvantageContext,
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns of a batch, each [rows, response tokens].

    A step's advantage is repeated on all tokens of its response; padding rows get 0. The returns are the
    critic's targets if the estimator has a critic; otherwise they equal the advantages, as in verl's group
    estimators.

    Args:
        adv_estimator: the estimator's name in verl.
        config: verl's section `algorithm`.
        context: the steps; the function stores the steps that the estimator received, and its advantages, in
            it.
        token_level_rewards: the trajectory's return on the last token of each of its rows, minus, on each
            token, verl's penalty for diverging from the reference policy, if there is one. This penalty is
            subtracted from the reward of the step to which the tokens belong.
        response_mask: 1 on the tokens that the loss counts.
    """
    estimator = estimator_of(adv_estimator, config.get("stepwise"))
    places = torch.from_numpy(context.places)
    steps = context.steps
    tokens = token_level_rewards[places].double().cpu().numpy()
    penalty = context.scores - tokens.sum(axis=-1)
    if penalty.any():
        # The last token has the score minus the token's own penalty, and the rounding error of their sum.
        size = np.abs(context.scores) + np.abs(tokens).sum(axis=-1)
        rounding = kept_rounding(size, token_level_rewards)
        steps = steps.with_rewards(steps.reward - penalty, rounding)
    credited = entropy_credit_of(config.get("stepwise"))(estimator)
    context.read, context.advantages = steps, credited(steps)
    targets = estimator.value_targets(steps) if isinstance(estimator, CriticEstimator) else context.advantages
    return (
        _on_tokens(context.advantages, places, response_mask),
        _on_tokens(targets, places, response_mask),
    )


def value_of_steps(values: torch.Tensor) -> NDArray[np.float64]:
    """The critic's value of each step's state, [rows], from its values at each token, [rows, tokens].

    The critic computes the value at a response's first token before that token, at the end of the prompt.
    """
    return values[:, 0].double().cpu().numpy()


def entropy_of_steps(
    entropies: Sequence[torch.Tensor] | None, logprobs: Sequence[torch.Tensor] | None
) -> dict[str, Any]:
    """The column `entropy` of the step table, in nats; empty if neither source is given.

    verl computes entropies together with the old log-probabilities. If it uses the rollout's
    log-probabilities instead (`bypass_mode`), the entropy is estimated by minus their mean: one sample from
    each distribution, with the entropy as its expectation.

    Args:
        entropies: for each step, the entropies of its response's tokens.
        logprobs: for each step, the log-probabilities of its response's tokens.
    """
    if entropies is not None:
        return {"entropy": [row.double().mean().item() for row in entropies]}
    if logprobs is not None:
        return {"entropy": [-row.double().mean().item() for row in logprobs]}
    return {}


def _on_tokens(
    values: NDArray[np.float64], places: torch.Tensor, response_mask: torch.Tensor
) -> torch.Tensor:
    rows = torch.zeros(len(response_mask), dtype=torch.float32)
    rows[places] = torch.from_numpy(values).float()
    return rows.to(response_mask.device).unsqueeze(-1) * response_mask.float()


def _context_of_fields(
    non_tensor_batch: Mapping[str, Any] | None, index: Any, batch: Any, response_mask: torch.Tensor
) -> AdvantageContext:
    """The advantage context if verl itself passes the samples' fields to the advantage function."""
    if non_tensor_batch is None or "extra_fields" not in non_tensor_batch:
        raise SettingError(
            "the estimators of hgpo need each row's step, which verl's own trainers do not pass to them: "
            "set trainer.v1.trainer_mode to hgpo_sync, hgpo_colocate_async or hgpo_separate_async"
        )
    rows, places = step_rows(non_tensor_batch["extra_fields"], index)
    known: Mapping[str, torch.Tensor] = {} if batch is None else batch

    def of_steps(name: str) -> list[torch.Tensor] | None:
        return [known[name][p][response_mask[p].bool()] for p in places] if name in known else None

    columns = entropy_of_steps(of_steps("entropy"), of_steps("rollout_log_probs"))
    if "values" in known:
        columns["value"] = value_of_steps(known["values"][torch.from_numpy(places)])
    return advantage_context(rows, places, **columns)


def advantage_function(adv_estimator: str) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """The function that verl calls for this estimator, with verl's argument names (`stepwise_advantages`)."""

    def compute(
        token_level_rewards: torch.Tensor,
        response_mask: torch.Tensor,
        config: Mapping[str, Any],
        index: Any = None,
        non_tensor_batch: Mapping[str, Any] | None = None,
        batch: Any = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        context = _CONTEXT.get() or _context_of_fields(non_tensor_batch, index, batch, response_mask)
        return stepwise_advantages(adv_estimator, config, context, token_level_rewards, response_mask)

    return compute


def register_estimators() -> None:
    """Register every estimator that has a name in verl, as stepwise_hgpo, stepwise_gigpo and so on."""
    for name in ESTIMATORS:
        register_estimator(PREFIX + name)


def register_estimator(adv_estimator: str) -> None:
    """Register an estimator in verl under its name in `algorithm.adv_estimator`."""
    # Imported here because verl imports the plugin, and therefore this module, while verl is being imported.
    from verl.trainer.ppo.core_algos import register_adv_est

    register_adv_est(adv_estimator)(advantage_function(adv_estimator))
