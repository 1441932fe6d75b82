"""The metrics of an iteration; docs/metrics.md has the formulas."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hgpo.estimators import Comparison
from hgpo.policies.answers import InvalidReason
from hgpo.rollouts.dynamic_sampling import Sample
from hgpo.rollouts.episodes import mean_score
from hgpo.steps import StepTable
from hgpo.training.advantage_scale import root_mean_square

if TYPE_CHECKING:
    import torch


def rollout_metrics(sample: Sample, steps: StepTable) -> dict[str, float]:
    """Metrics of all sampled trajectories, and of the steps that the update uses."""
    lengths = [len(trajectory.steps) for trajectory in sample.tried]
    lost = sum(trajectory.failure is not None for trajectory in sample.tried)
    score = mean_score(sample.tried)
    return {
        "success_rate": float(np.mean([trajectory.won for trajectory in sample.tried])),
        **({} if score is None else {"score_mean": score}),
        "return_mean": float(np.mean([trajectory.total_reward for trajectory in sample.tried])),
        "steps_mean": float(np.mean(lengths)),
        "environment_steps": sum(len(s.steps) for trajectory in sample.tried for s in trajectory.sequences),
        "dynamic_sampling_rounds": sample.rounds,
        "failed_trajectories": lost,
        "kept_fraction": len(sample.kept) / len(sample.tried),
        **step_metrics(steps),
    }


def step_metrics(steps: StepTable) -> dict[str, float]:
    """Metrics of a table's answers and prompts."""
    assert steps.prompt_tokens is not None and steps.action_valid is not None
    assert steps.response_tokens is not None
    distinct = len({prompt.tobytes() for prompt in steps.prompt_tokens})
    return {
        "valid_action_rate": float(steps.action_valid.mean()),
        **_invalid_counts(steps),
        "prompt_tokens_mean": float(np.mean([len(prompt) for prompt in steps.prompt_tokens])),
        "response_tokens_mean": float(np.mean([len(response) for response in steps.response_tokens])),
        "distinct_prompt_fraction": distinct / len(steps),
        **({} if steps.entropy is None else {"response_entropy_mean": float(steps.entropy.mean())}),
    }


def _invalid_counts(steps: StepTable) -> dict[str, float]:
    """Number of invalid answers for each reason; empty if the table has no reasons."""
    if steps.invalid_reason is None:
        return {}
    found = Counter(steps.invalid_reason.tolist())
    return {f"invalid_{reason}": found[reason] for reason in InvalidReason}


def group_metrics(comparison: Comparison) -> dict[str, float]:
    """The fraction of rows with a peer at each level of an estimator."""
    return {
        f"peer_fraction_{level.name}": float(np.mean(level.peer_counts() > 0)) for level in comparison.levels
    }


def advantage_metrics(advantages: NDArray[np.float64]) -> dict[str, float]:
    """The fraction of advantages that are exactly 0, their mean, standard deviation and root mean square."""
    return {
        "zero_advantage_fraction": float(np.mean(advantages == 0)),
        "advantage_mean": float(advantages.mean()),
        "advantage_std": float(advantages.std()),
        "advantage_rms": root_mean_square(advantages),
    }


def peak_memory(device: torch.device) -> float:
    """Peak GPU memory used by tensors since the last call, in GiB; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    # Adapters compute the other metrics without torch.
    import torch

    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak / 2**30
