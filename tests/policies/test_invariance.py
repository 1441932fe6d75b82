"""How rows are batched, merged and ordered must not matter; tested through the real command."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from merged_rows import policy, table
from safetensors.torch import load_file
from toy_runs import command, figures

from hgpo.cli import main
from hgpo.steps import StepTable
from hgpo.training.batch import merge_rows
from hgpo.training.losses import PolicyLoss
from hgpo.training.update import update_policy

SMALL = (
    "--iterations 1 --num-minibatches 1 --subsample-below 0 --learning-rate-warmup 0 --learning-rate 1e-3 "
    "--tasks-per-iteration 2 --group-size 8 --evaluation-tasks 1 --loss.kl-coefficient 0.01"
)


def weights_after(folder: Path, *options: str) -> torch.Tensor:
    """All weights after one iteration of the real command, less those before it."""
    assert main(command(*SMALL.split(), *options, "--out", str(folder))) == 0
    before, after = (load_file(folder / "checkpoints" / f"{i:06d}" / "model.safetensors") for i in (0, 1))
    return torch.cat([(after[name] - before[name]).flatten() for name in sorted(after)])


@cache
def usual_run() -> tuple[torch.Tensor, dict[str, float]]:
    """What the command does by itself: the change of the weights, and the metrics."""
    with tempfile.TemporaryDirectory() as folder:
        return weights_after(Path(folder) / "usual"), figures(Path(folder) / "usual")[0]


@pytest.mark.parametrize(
    "options",
    [["--token-budget", "1"], ["--no-merge-rows"], ["--no-merge-rows", "--token-budget", "1"]],
    ids=["one row a forward pass", "no merging", "neither"],
)
def test_how_rows_are_batched_changes_nothing(options, tmp_path):
    # The rollout reads prompts in the same batches, too, so that its samples are the same.
    usual, one = usual_run()
    other = weights_after(tmp_path / "other", *options)
    two = figures(tmp_path / "other")[0]
    assert one["success_rate"] == two["success_rate"] and one["environment_steps"] == two["environment_steps"]
    for name in ("gradient_norm", "entropy", "kl", "advantage_std"):
        assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-7)
    # Adam divides a gradient by its size, so a weight whose gradient is rounding alone may go either way; the
    # others move alike, and what is left has no direction.
    residual = (usual - other).double().numpy()
    moved = np.abs(usual.double().numpy()) > 0
    assert np.mean(np.abs(residual[moved]) < 1e-6) > 0.99
    assert abs(residual.mean()) < 4 * residual.std() / np.sqrt(residual.size) + 1e-12


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(3)
    steps = table(rng)
    advantages = rng.normal(size=len(steps))
    order = rng.permutation(len(steps))
    columns = {
        name: [getattr(steps, name)[row] for row in order]
        for name in (
            *("task_id", "trajectory_id", "step_index", "state_key", "reward"),
            *("prompt_tokens", "response_tokens", "response_logprobs"),
        )
    }
    gradients = []
    for rows, values in ((steps, advantages), (StepTable(**columns), advantages[order])):
        model = policy()
        before = torch.cat([p.detach().flatten().clone() for p in model.model.parameters()])
        update_policy(
            *(model, policy(7), torch.optim.SGD(model.model.parameters(), lr=1.0), PolicyLoss()),
            merge_rows(rows, values),
            ppo_epochs=1,
            num_minibatches=1,
            temperature=1.0,
            max_response_tokens=4,
            max_gradient_norm=1e9,
            rng=np.random.default_rng(0),
        )
        gradients.append(before - torch.cat([p.detach().flatten() for p in model.model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], atol=2e-6, rtol=1e-4)
