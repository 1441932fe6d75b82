"""The critic learns to predict the return from a prompt, and PPO with it wins more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hgpo.policies.critic import Critic
from hgpo.policies.settings import CriticTraining, TinyModel
from hgpo.policies.tiny import create_policy

PROMPTS = [(5, 6, 7), (6, 5), (7,), (5, 6)]


def policy():
    return create_policy(["go to hall attic"], TinyModel(16, 1, 2), max_tokens=32, max_commands=1, seed=0)


def test_an_untrained_critic_expects_nothing():
    assert Critic(policy(), CriticTraining()).values(PROMPTS).tolist() == [0.0] * 4


def test_the_critic_learns_its_targets_from_prompts_of_all_lengths():
    critic = Critic(policy(), CriticTraining(learning_rate=1e-2, ppo_epochs=200, num_minibatches=2))
    targets = np.array([10.0, 0.0, -3.0, 5.0])
    loss = critic.fit(PROMPTS, targets, np.random.default_rng(0))
    np.testing.assert_allclose(critic.values(PROMPTS), targets, atol=0.3)
    assert 0 < loss < np.mean(targets**2) / 2


def test_padding_changes_no_value():
    critic = Critic(policy(), CriticTraining(learning_rate=1e-2, ppo_epochs=20))
    critic.fit(PROMPTS, np.array([10.0, 0.0, -3.0, 5.0]), np.random.default_rng(0))
    alone = [critic.values([prompt])[0] for prompt in PROMPTS]
    np.testing.assert_allclose(critic.values(PROMPTS), alone, atol=1e-5)


def test_rows_of_a_prompt_enter_as_their_mean():
    # Targets 0, 6, 9 of one prompt and 1 of another: the gradient of Σ (V − y)² / 2 / 4 rows.
    prompts, targets = [(5, 6), (5, 6), (5, 6), (7,)], np.array([0.0, 6.0, 9.0, 1.0])
    training = CriticTraining(ppo_epochs=1, num_minibatches=1, max_gradient_norm=1e9)
    merged, plain = Critic(policy(), training), Critic(policy(), training)
    for critic in (merged, plain):
        critic.optimizer = torch.optim.SGD(critic.model.parameters(), lr=0.1)  # pyright: ignore
    merged.fit(prompts, targets, np.random.default_rng(0))
    for prompt, target in zip(prompts, targets, strict=True):
        ((plain._forward([prompt])[0] - target) ** 2 / 2 / 4).backward()
    plain.optimizer.step()
    np.testing.assert_allclose(merged.values(prompts), plain.values(prompts), rtol=1e-4)


def test_the_policy_is_left_alone():
    before = policy()
    critic = Critic(before, CriticTraining())
    critic.fit(PROMPTS, np.ones(4), np.random.default_rng(0))
    for mine, fresh in zip(before.model.parameters(), policy().model.parameters(), strict=True):
        assert torch.equal(mine, fresh)


def test_what_is_saved_comes_back(tmp_path):
    critic = Critic(policy(), CriticTraining())
    critic.fit(PROMPTS, np.ones(4), np.random.default_rng(0))
    critic.save(tmp_path / "critic.pt")
    again = Critic(policy(), CriticTraining())
    again.load(tmp_path / "critic.pt")
    for each in (critic, again):
        each.fit(PROMPTS, np.ones(4), np.random.default_rng(1))
    assert critic.values(PROMPTS).tolist() == again.values(PROMPTS).tolist()


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"ppo_epochs": 0}, {"num_minibatches": 0}])
def test_wrong_training_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        CriticTraining(**wrong)
