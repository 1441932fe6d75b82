"""Schedules: their values by arithmetic, transformers' own, and runs that are resumed."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import config, figures, finished, half_trained, run
from transformers import get_wsd_schedule

from hgpo.cli.train import parse_train
from hgpo.errors import SettingError
from hgpo.training.config import TrainConfig
from hgpo.training.learning import coefficients_at
from hgpo.training.losses import PolicyLoss
from hgpo.training.schedules import Decay, EntropyTarget, progress_at, warm_up
from hgpo.training.trainer import Trainer
from hgpo.training.update import update_policy

LINEAR = Decay("linear", 0.2)


def rates(iterations, *, warmup=0, decay=LINEAR):
    settings = TrainConfig(
        learning_rate=6e-4,
        learning_rate_warmup=warmup,
        learning_rate_decay=decay,
        iterations=iterations,
    )
    return [coefficients_at(settings, i, 0, 0.01).learning_rate for i in range(iterations)]


def test_without_a_decay_it_is_the_peak_after_a_linear_rise():
    # Warm-up of 10: 1/11, 2/11, … of the rate, and all of it from the eleventh iteration on. Exactly.
    settings = TrainConfig(
        learning_rate=8e-4,
        learning_rate_warmup=10,
        learning_rate_decay=Decay(),
        entropy_decay=Decay("constant", 0.5),
        loss=PolicyLoss(entropy_coefficient=0.01),
    )
    for iteration in (0, 4, 10, 11, 179):
        found = coefficients_at(settings, iteration, 0, settings.loss.entropy_coefficient)
        assert found.learning_rate == 8e-4 * min(1.0, (iteration + 1) / 11)
        assert (found.entropy_coefficient, found.kl_coefficient) == (0.01, 0.01)


def test_the_defaults_fall_to_a_fifth_of_the_rate_and_three_fifths_of_the_entropy_coefficient():
    settings = TrainConfig()
    last = coefficients_at(settings, settings.iterations - 1, 0, settings.loss.entropy_coefficient)
    assert settings.learning_rate == 6e-4 and settings.loss.entropy_coefficient == 0.05
    assert last.learning_rate == pytest.approx(1.2e-4, rel=1e-12)
    assert last.entropy_coefficient == pytest.approx(0.03, rel=1e-12)


def test_a_linear_decay_has_equal_steps_down_to_the_final_fraction():
    # From 6e-4 to a fifth of it in five iterations: four steps of 1.2e-4.
    assert rates(5) == pytest.approx([6e-4, 4.8e-4, 3.6e-4, 2.4e-4, 1.2e-4], rel=1e-12)
    # With two iterations of warm-up: 1/3 and 2/3 of the peak first, then two steps of 2.4e-4.
    assert rates(5, warmup=2) == pytest.approx([2e-4, 4e-4, 6e-4, 3.6e-4, 1.2e-4], rel=1e-12)


def test_a_cosine_is_half_way_down_in_the_middle_and_flat_at_both_ends():
    # s(1/4) = (1 + √½) / 2: 1.2e-4 + 4.8e-4 · 0.853553 = 5.297056e-4; by symmetry 1.902944e-4 at 3/4.
    expected = [6e-4, 5.297056e-4, 3.6e-4, 1.902944e-4, 1.2e-4]
    assert rates(5, decay=Decay("cosine", 0.2)) == pytest.approx(expected, rel=1e-6)


def test_entropy_and_kl_coefficients_decay_without_a_warm_up():
    # η from 0.1 to 0.05, β from 0.02 to 0, in three iterations; the warm-up is the learning rate's alone.
    words = (
        "--iterations 3 --learning-rate-warmup 2 --loss.entropy-coefficient 0.1 --entropy-decay.shape linear "
        "--entropy-decay.final 0.5 --loss.kl-coefficient 0.02 --kl-decay.shape linear"
    )
    settings = parse_train(words.split())
    found = [coefficients_at(settings, i, 0, settings.loss.entropy_coefficient) for i in range(3)]
    assert [c.entropy_coefficient for c in found] == pytest.approx([0.1, 0.075, 0.05], rel=1e-12)
    assert [c.kl_coefficient for c in found] == pytest.approx([0.02, 0.01, 0.0], rel=1e-12)


def test_the_used_part_of_a_budget_counts_where_it_is_the_larger_one():
    # 1,000 iterations would be done, but after 30 of 40 steps of the budget three quarters are over: of the
    # fall by 0.8 to the final 0.2 there are 0.6 done. In iteration 501 of 1,001 half is over by number.
    settings = TrainConfig(
        learning_rate=1.0, learning_rate_warmup=0, learning_rate_decay=LINEAR, iterations=1001
    )
    budgeted = replace(settings, budget_steps=40)
    assert coefficients_at(budgeted, 0, 30, 0.0).learning_rate == pytest.approx(0.4)
    assert coefficients_at(budgeted, 500, 10, 0.0).learning_rate == pytest.approx(0.6)
    assert coefficients_at(budgeted, 3, 50, 0.0).learning_rate == pytest.approx(0.2)
    assert coefficients_at(settings, 0, 30, 0.0).learning_rate == 1.0


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_after_the_warm_up_it_is_the_schedule_of_transformers(shape, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=6e-4)
    # Its last step before the final value is the one before the last iteration.
    theirs = get_wsd_schedule(
        optimizer, warmup, 19 - warmup, num_stable_steps=0, decay_type=shape, min_lr_ratio=0.2
    )
    expected = []
    for _ in range(20):
        expected += theirs.get_last_lr()
        optimizer.step()
        theirs.step()
    ours = rates(20, warmup=warmup, decay=Decay(shape, 0.2))
    assert ours[warmup:] == pytest.approx(expected[warmup:], rel=1e-12)


@given(
    st.sampled_from(["linear", "cosine"]),
    st.floats(0, 1),
    st.integers(1, 50),
    st.integers(0, 60),
    st.lists(st.floats(0, 1), min_size=50, max_size=50),
)
def test_a_decay_never_rises_and_ends_at_its_fraction(shape, final, iterations, warmup, used):
    decay = Decay(shape, final)
    places = [
        progress_at(i, iterations, warmup=warmup, budget_used=part)
        for i, part in zip(range(iterations), sorted(used), strict=False)
    ]
    factors = [decay.fraction(place) for place in places]
    assert factors == sorted(factors, reverse=True)
    assert all(final - 1e-12 <= factor <= 1 + 1e-12 for factor in factors)
    assert decay.fraction(1.0) == final
    assert all(0 < warm_up(i, warmup) <= 1 for i in range(iterations))


def test_an_entropy_below_its_target_raises_the_coefficient():
    # 0.01 + 0.1 · (0.5 − 0.3) = 0.03; above the target it falls, but not below 0; at the target it stays.
    target = EntropyTarget(0.5, rate=0.1)
    assert target.next_coefficient(0.01, 0.3) == pytest.approx(0.03)
    assert target.next_coefficient(0.01, 0.55) == pytest.approx(0.005)
    assert target.next_coefficient(0.01, 0.9) == 0.0
    assert target.next_coefficient(0.01, 0.5) == 0.01
    assert EntropyTarget().next_coefficient(0.01, 0.3) == 0.01


SCHEDULED = dict(
    iterations=4,
    learning_rate_warmup=1,
    learning_rate_decay=LINEAR,
    kl_decay=Decay("cosine"),
    loss=PolicyLoss(entropy_coefficient=0.02),
)


def interrupted(settings, folder, monkeypatch):
    """Run until Ctrl-C in the third iteration's rollout, then go on."""
    original, calls = Trainer._rollout, []

    def rollout(self):
        calls.append(self.iteration)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(self)

    monkeypatch.setattr(Trainer, "_rollout", rollout)
    with pytest.raises(KeyboardInterrupt):
        run(settings, folder)
    run(settings, folder)
    assert calls[:5] == [0, 1, 2, 2, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"entropy_target": EntropyTarget(0.9, rate=0.05)},
        {"entropy_decay": Decay("linear", 0.5), "budget_steps": 260, "iterations": 100},
    ],
    ids=["target", "budget"],
)
def test_a_resumed_run_follows_its_schedules(changes, tmp_path, monkeypatch, handlers):
    handlers({signal.SIGINT: signal.default_int_handler})
    settings = half_trained(**(SCHEDULED | changes))
    unbroken = finished(settings)
    interrupted(settings, tmp_path, monkeypatch)
    assert figures(tmp_path) == figures(unbroken)
    iterations = len(figures(unbroken))
    assert iterations >= 4
    assert len({record["entropy_coefficient"] for record in figures(tmp_path)}) == iterations
    first, second = (
        (folder / "checkpoints" / f"{iterations:06d}" / "model.safetensors").read_bytes()
        for folder in (tmp_path, unbroken)
    )
    assert first == second


def test_the_coefficient_follows_the_measured_entropy():
    settings = half_trained(**(SCHEDULED | {"entropy_target": EntropyTarget(0.9, rate=0.05)}))
    records = figures(finished(settings))
    expected = [0.02]
    for record in records[:-1]:
        expected.append(max(0.0, expected[-1] + 0.05 * (0.9 - record["entropy"])))
    assert [record["entropy_coefficient"] for record in records] == expected


def test_the_update_has_the_coefficients_that_are_logged(tmp_path, monkeypatch):
    used = []

    def recorded(policy, reference, optimizer, loss, *args, **settings):
        (group,) = optimizer.param_groups
        used.append((group["lr"], loss.entropy_coefficient, loss.kl_coefficient))
        return update_policy(policy, reference, optimizer, loss, *args, **settings)

    monkeypatch.setattr("hgpo.training.learning.update_policy", recorded)
    run(half_trained(**SCHEDULED, entropy_decay=LINEAR), tmp_path)
    names = ("learning_rate", "entropy_coefficient", "kl_coefficient")
    assert used == [tuple(record[name] for name in names) for record in figures(tmp_path)]
    assert len(set(used)) == 4


def test_the_rest_of_a_run_with_more_iterations_follows_the_longer_schedule(tmp_path):
    # Without warm-up, from 1e-3 to 0: with two iterations 1 and 0; with four 1, 2/3, 1/3 and 0, of which the
    # resumed run has the last two.
    settings = dict(learning_rate=1e-3, learning_rate_warmup=0, learning_rate_decay=Decay("linear"))
    run(half_trained(iterations=2, **settings), tmp_path)
    run(half_trained(iterations=4, **settings), tmp_path)
    found = [record["learning_rate"] for record in figures(tmp_path)]
    assert found == pytest.approx([1e-3, 0.0, 1e-3 / 3, 0.0], abs=1e-18)


def test_without_a_weight_the_divergence_is_not_measured(tmp_path, monkeypatch):
    def refused(folder, policy):
        raise AssertionError("the reference is not needed")

    monkeypatch.setattr("hgpo.training.state.load_reference", refused)
    run(half_trained(iterations=2, loss=PolicyLoss(kl_coefficient=0.0)), tmp_path)
    records = figures(tmp_path)
    assert all("kl" not in record and record["kl_coefficient"] == 0 for record in records)
    assert all(record["gradient_norm"] > 0 for record in records)


def test_an_entropy_target_and_a_decay_contradict_one_another():
    with pytest.raises(SettingError, match="give --entropy-decay"):
        config(entropy_decay=LINEAR, entropy_target=EntropyTarget(0.5))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--kl-decay.shape linear --kl-decay.final -1", "final is -1.0: expected a fraction of at least 0"),
        ("--entropy-target.nats 0", "nats is 0.0: expected an entropy above 0"),
        ("--entropy-target.rate 0", "rate is 0.0: expected a number above 0"),
        ("--entropy-target.rate 0.1", "no effect without a target: give --entropy-target.nats as well"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_in_one_line(words, message):
    with pytest.raises(SettingError) as refusal:
        parse_train(words.split())
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
