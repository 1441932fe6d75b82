"""Our GRPO, Dr. GRPO, RLOO, REINFORCE++ and PPO beside verl's own functions. Opt-in:

pip install verl
pytest -m slow tests/reference/test_verl_reference.py

There a row is a response and its tokens are what comes one after the other. Here a trajectory is put into a
row, its steps into the tokens' places: then both compute the same.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hgpo import GRPO, PPO, RLOO, DrGRPO, ReinforcePlusPlus, StepTable

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("verl", reason="verl is not installed", exc_type=ImportError)


@pytest.fixture
def verl():
    from verl.trainer.ppo import core_algos  # pyright: ignore[reportMissingImports]

    return core_algos


class Batch:
    """Random trajectories of 1 … longest steps, in both forms."""

    def __init__(self, seed: int, longest: int) -> None:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, longest + 1, size=24)
        self.mask = torch.arange(longest)[None] < torch.from_numpy(lengths)[:, None]
        self.rewards = torch.from_numpy(rng.normal(size=(24, longest))) * self.mask
        self.values = torch.from_numpy(rng.normal(size=(24, longest))) * self.mask
        self.task = np.arange(24) // 6
        rows, times = np.nonzero(self.mask.numpy())
        self.steps = StepTable(
            task_id=self.task[rows],
            trajectory_id=rows,
            step_index=times,
            state_key=["s"] * len(rows),
            reward=self.rewards[rows, times].numpy(),
            value=self.values[rows, times].numpy(),
        )

    def compare(self, ours: np.ndarray, theirs: torch.Tensor) -> None:
        np.testing.assert_allclose(ours, theirs[self.mask].numpy(), atol=2e-5)


@pytest.mark.parametrize("seed", range(5))
def test_trajectory_estimators(verl, seed):
    batch = Batch(seed, longest=5)
    mask = batch.mask.double()
    theirs, _ = verl.compute_grpo_outcome_advantage(batch.rewards, mask, batch.task)
    batch.compare(GRPO()(batch.steps), theirs)
    theirs, _ = verl.compute_grpo_outcome_advantage(
        batch.rewards, mask, batch.task, norm_adv_by_std_in_grpo=False
    )
    batch.compare(DrGRPO()(batch.steps), theirs)
    theirs, _ = verl.compute_rloo_outcome_advantage(batch.rewards, mask, batch.task)
    batch.compare(RLOO()(batch.steps), theirs)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_reinforce_plus_plus(verl, seed, discount):
    batch = Batch(seed, longest=5)
    theirs, _ = verl.compute_reinforce_plus_plus_outcome_advantage(
        batch.rewards, batch.mask.double(), config=SimpleNamespace(gamma=discount)
    )
    batch.compare(ReinforcePlusPlus(discount=discount)(batch.steps), theirs)


@pytest.mark.parametrize("seed", range(5))
def test_reinforce_plus_plus_with_baseline(verl, seed):
    # There the whole response's score is spread over its tokens; with one step the two are the same.
    batch = Batch(seed, longest=1)
    theirs, _ = verl.compute_reinforce_plus_plus_baseline_outcome_advantage(
        batch.rewards, batch.mask.double(), batch.task
    )
    batch.compare(ReinforcePlusPlus(baseline="task")(batch.steps), theirs)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.95, 0.95), (1.0, 0.5), (0.9, 0.0), (0.9, 1.0)])
def test_generalised_advantages(verl, seed, discount, gae_lambda):
    batch = Batch(seed, longest=6)
    theirs, targets = verl.compute_gae_advantage_return(
        batch.rewards, batch.values, batch.mask.double(), discount, gae_lambda
    )
    estimator = PPO(discount=discount, gae_lambda=gae_lambda)
    batch.compare(estimator(batch.steps), theirs)
    batch.compare(estimator.value_targets(batch.steps), targets)
