"""Every estimator, called by verl, gives the same advantages as the estimator on the table."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from own_estimator import SameStep
from verl_rows import row

from hgpo.adapters.step_records import step_table
from hgpo.adapters.verl.rows import StepRow
from hgpo.adapters.verl.settings import entropy_credit_of, estimator_of
from hgpo.errors import SettingError
from hgpo.estimators import AEM, ENTROPY_CREDITS, ESTIMATORS, PPO

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
    # verl warns of every engine that is not installed.
    pytest.mark.filterwarnings("ignore"),
]

LENGTH = 3


class Batch:
    """Random trajectories in verl's form: rows in any order, the return on each row's last token."""

    def __init__(self, seed: int, padding: int = 2) -> None:
        self.rng = rng = np.random.default_rng(seed)
        rows: list[StepRow] = []
        for task in "tu":
            for rollout in range(4):
                rewards = rng.integers(0, 3, size=rng.integers(1, 5)).astype(float)
                rows += [
                    row(
                        task, rollout, step, reward=reward, total=float(rewards.sum()),
                        state_key=int(rng.integers(2)), action_valid=bool(rng.integers(2)),
                    )
                    for step, reward in enumerate(rewards)
                ]  # fmt: skip
        self.rows = [rows[i] for i in rng.permutation(len(rows))]
        self.places = np.sort(rng.permutation(len(rows) + padding)[: len(rows)])
        size = len(rows) + padding
        self.uids = np.full(size, "pad", dtype=object)
        self.fields = np.full(size, None, dtype=object)
        self.mask = torch.zeros(size, LENGTH)
        self.rewards = torch.zeros(size, LENGTH)
        for place in range(size):
            self.fields[place] = self.rows[0].as_field()
        for place, step in zip(self.places, self.rows, strict=True):
            self.uids[place], self.fields[place] = step.task, step.as_field()
            tokens = int(rng.integers(1, LENGTH + 1))
            self.mask[place, :tokens] = 1
            self.rewards[place, tokens - 1] = step.total
        self.values = torch.from_numpy(rng.normal(size=(size, LENGTH)))

    def data(self) -> Any:
        from verl import DataProto

        return DataProto.from_dict(
            tensors={"token_level_rewards": self.rewards, "response_mask": self.mask},
            non_tensors={"uid": self.uids},
        )

    def steps(self) -> Any:
        return step_table(self.rows, value=self.values[torch.from_numpy(self.places), 0].numpy())

    def expect(self, found: torch.Tensor, by_step: np.ndarray) -> None:
        """A step's number on its response's tokens, 0 on later tokens and in padding rows."""
        expected = torch.zeros_like(self.mask)
        expected[torch.from_numpy(self.places)] = torch.from_numpy(by_step).float()[:, None]
        torch.testing.assert_close(found, expected * self.mask, atol=1e-6, rtol=0)


def computed(batch: Batch, config: dict[str, Any]) -> Any:
    """The batch after verl's own function."""
    from verl.trainer.ppo import ray_trainer

    compute: Any = ray_trainer.compute_advantage
    return compute(batch.data(), config["adv_estimator"], config=config)


def algorithm(name: str, **settings: Any) -> dict[str, Any]:
    return {"adv_estimator": f"stepwise_{name}", "stepwise": {name: {"invalid_penalty": 0.1, **settings}}}


def test_an_estimator_of_ones_own_is_registered_by_its_spelling():
    from hgpo.adapters.verl.advantages import active, advantage_context, register_estimator

    batch, name = Batch(0), "stepwise_own_estimator:SameStep"
    register_estimator(name)
    config = {"adv_estimator": name, "stepwise": {"SameStep": {"discount": 0.5}}}
    with active(advantage_context(batch.rows, batch.places)):
        data = computed(batch, config)
    batch.expect(data.batch["advantages"], SameStep(discount=0.5)(batch.steps()))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("seed", range(3))
def test_by_the_trainers(name, seed):
    """What the mixin hands over goes through verl's own compute_advantage. Rejects: padding in a group, rows by
    position, the trajectory's score taken for the step's reward."""
    from hgpo.adapters.verl.advantages import active, advantage_context

    batch, config = Batch(seed), algorithm(name)
    values = batch.steps().value
    context = advantage_context(batch.rows, batch.places, value=values)
    with active(context):
        data = computed(batch, config)
    estimator = estimator_of(config["adv_estimator"], config["stepwise"])
    expected = estimator(batch.steps())
    batch.expect(data.batch["advantages"], expected)
    assert context.advantages is not None
    np.testing.assert_allclose(context.advantages, expected, atol=1e-12)
    # A critic learns what its estimator wants; there is none elsewhere.
    targets = estimator.value_targets(batch.steps()) if isinstance(estimator, PPO) else expected
    batch.expect(data.batch["returns"], targets)


@pytest.mark.parametrize("name", ["hgpo", "ppo"])
def test_by_a_verl_that_passes_the_fields(name):
    """The call of verl#7473: without this package's trainer, with the rows' fields as arguments."""
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    batch, config = Batch(4), algorithm(name)
    advantages, _ = get_adv_estimator_fn(config["adv_estimator"])(
        token_level_rewards=batch.rewards,
        response_mask=batch.mask,
        config=config,
        index=batch.uids,
        non_tensor_batch={"extra_fields": batch.fields, "uid": batch.uids},
        batch={"values": batch.values},
    )
    batch.expect(advantages, estimator_of(config["adv_estimator"], config["stepwise"])(batch.steps()))


@pytest.mark.parametrize("credit", ["aem", "empg"])
@pytest.mark.parametrize("known", ["entropy", "rollout_log_probs"])
def test_entropy_credit_reads_what_verl_knows_of_the_tokens(credit, known):
    """Entropies where verl has them, else minus the drawn tokens' log-probabilities, over the response's tokens
    alone. Rejects: means over padding, the log-probabilities' sign."""
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    batch, config = Batch(5), algorithm("hgpo")
    config["stepwise"]["entropy_credit"] = credit
    of_tokens = torch.from_numpy(batch.rng.random(batch.mask.shape))
    advantages, _ = get_adv_estimator_fn(config["adv_estimator"])(
        token_level_rewards=batch.rewards,
        response_mask=batch.mask,
        config=config,
        index=batch.uids,
        non_tensor_batch={"extra_fields": batch.fields, "uid": batch.uids},
        batch={known: of_tokens if known == "entropy" else -of_tokens},
    )
    mean = (of_tokens * batch.mask).sum(1) / batch.mask.sum(1)
    steps = batch.steps().with_entropy(mean[torch.from_numpy(batch.places)].numpy())
    estimator = ENTROPY_CREDITS[credit](estimator_of(config["adv_estimator"], config["stepwise"]))
    batch.expect(advantages, estimator(steps))


def test_a_critic_learns_the_same_under_entropy_credit():
    from hgpo.adapters.verl.advantages import active, advantage_context

    batch, config = Batch(6), algorithm("ppo")
    config["stepwise"]["entropy_credit"] = "aem"
    steps = batch.steps().with_entropy(batch.rng.random(len(batch.rows)))
    context = advantage_context(batch.rows, batch.places, value=steps.value, entropy=steps.entropy)
    with active(context):
        data = computed(batch, config)
    estimator: Any = estimator_of(config["adv_estimator"], config["stepwise"])
    batch.expect(data.batch["returns"], estimator.value_targets(steps))
    batch.expect(data.batch["advantages"], AEM(estimator)(steps))


def test_an_unknown_entropy_credit_is_refused():
    with pytest.raises(
        SettingError, match=r"algorithm.stepwise.entropy_credit is 'half': expected one of none"
    ):
        entropy_credit_of({"entropy_credit": "half"})


def test_without_the_fields_it_says_what_to_do():
    with pytest.raises(SettingError, match=r"trainer_mode to hgpo_sync, hgpo_colocate_async or"):
        computed(Batch(0), algorithm("hgpo"))


def test_the_penalty_for_diverging_is_the_steps_own():
    """verl takes β KL off each token's reward: 0.5 off two tokens of one row is 1.0 off that step's reward, and
    so off the returns of the steps before it, as any reward is."""
    from hgpo.adapters.verl.advantages import active, advantage_context

    batch, config = Batch(2), algorithm("hgpo", normalization="mean")
    penalties = batch.rng.random(batch.rewards.shape) * batch.mask.numpy()
    batch.rewards -= torch.from_numpy(penalties).float()
    steps = step_table(batch.rows)
    reward = steps.reward - penalties[batch.places].sum(axis=1)
    with active(advantage_context(batch.rows, batch.places)):
        data = computed(batch, config)
    estimator = estimator_of(config["adv_estimator"], config["stepwise"])
    batch.expect(data.batch["advantages"], estimator(steps.with_rewards(reward)))
    assert np.abs(estimator(steps) - estimator(steps.with_rewards(reward))).max() > 0.1


def test_scores_as_verl_rounds_them_are_no_penalty():
    """0.8 and 0.1 are no float32, and miss them by 1.2e-8 and 1.5e-9. If that passed for a penalty, the two last
    steps, which have the same state, history and return of 0.1, would be told apart by it."""
    from hgpo.adapters.verl.advantages import advantage_context, stepwise_advantages

    rows = [
        row("t", 0, 0, state_key="a", reward=0.7, total=0.8), row("t", 0, 1, state_key="b", reward=0.1, total=0.8),
        row("t", 1, 0, state_key="a", reward=0.0, total=0.1), row("t", 1, 1, state_key="b", reward=0.1, total=0.1),
    ]  # fmt: skip
    context = advantage_context(rows, np.arange(4))
    rewards = torch.tensor([[0.8], [0.8], [0.1], [0.1]], dtype=torch.float32)
    stepwise_advantages("stepwise_hgpo", algorithm("hgpo"), context, rewards, torch.ones(4, 1))
    assert context.advantages is not None
    assert context.advantages[[1, 3]].tolist() == [0.0, 0.0]
    assert context.advantages[[0, 2]] == pytest.approx([1.0, -1.0], abs=1e-4)
