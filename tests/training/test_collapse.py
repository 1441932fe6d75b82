"""Signs of a collapse: how much answers depend on their prompts, and a run's warning when they no longer do."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import finished, half_trained

from hgpo.policies.loading import load_policy
from hgpo.runs.display import NoDisplay
from hgpo.training.collapse import CollapseWatch, answer_metrics, information
from hgpo.training.trainer import Trainer


def test_information_of_two_prompts_by_hand():
    # Each of two answers has probability 0.9 after its prompt and 0.1 after the other, so 0.5 on average:
    # log(0.9 / 0.5) for both.
    logprobs = np.log([[0.9, 0.1], [0.1, 0.9]])
    assert information(logprobs) == pytest.approx(math.log(1.8))
    # Rows are answers: an answer that is likely after its prompt alone tells more of it than one that is likely
    # after both. log(0.8 / 0.5) and log(0.4 / 0.5).
    assert information(np.log([[0.8, 0.2], [0.6, 0.4]])) == pytest.approx((math.log(1.6) + math.log(0.8)) / 2)


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_information_is_bounded_and_zero_where_answers_ignore_prompts(n, seed):
    rng = np.random.default_rng(seed)
    logprobs = np.log(rng.uniform(0.01, 1, (n, n)))
    assert information(logprobs) <= math.log(n)
    # The order of the prompts, each with its answer, does not matter.
    order = rng.permutation(n)
    assert information(logprobs[np.ix_(order, order)]) == pytest.approx(information(logprobs))
    # Every prompt gives an answer the same probability.
    assert information(np.repeat(logprobs[:, :1], n, axis=1)) == pytest.approx(0, abs=1e-12)
    # Each answer comes after its prompt alone.
    assert information(np.where(np.eye(n), logprobs, -1e4)) == pytest.approx(math.log(n))


def test_answers_are_scored_under_one_another_prompts():
    settings = half_trained(iterations=1)
    policy = load_policy(finished(settings) / "reference", settings.compute())
    prompts = [(5, 6, 7), (5, 6, 8), (9, 4)]
    responses = [np.array([4, 5]), np.array([6]), np.array([7, 8, 9])]

    class Steps:
        prompt_tokens = np.array([np.array(p) for p in [*prompts, prompts[0]]], dtype=object)
        response_tokens = np.array([*responses, responses[0]], dtype=object)
        response_logprobs = np.array(
            [np.array([-1.0, -0.5]), np.array([-0.25]), np.array([-1.0, 0.0, -1.0]), np.array([-1.0, -0.5])],
            dtype=object,
        )

        def __len__(self):
            return 4

    found = answer_metrics(
        policy,
        Steps(),  # pyright: ignore[reportArgumentType]
        prompts=10,
        temperature=0.7,
        rng=np.random.default_rng(0),
    )
    # (1.5 + 0.25 + 2 + 1.5) / 4: all rows count, also those with a prompt that was there before.
    assert found["answer_entropy"] == 5.25 / 4

    def logprob(response, prompt):
        (packed,) = policy.packed_batches([prompt], [response])
        return policy.score(packed, 0.7).logprobs.sum().item()

    one_by_one = np.array([[logprob(response, prompt) for prompt in prompts] for response in responses])
    assert found["answer_information"] == pytest.approx(information(one_by_one), abs=1e-5)
    alone = answer_metrics(
        policy,
        Steps(),  # pyright: ignore[reportArgumentType]
        prompts=0,
        temperature=0.7,
        rng=np.random.default_rng(0),
    )
    assert alone == {"answer_entropy": 5.25 / 4}


HEALTHY = {"success_rate": 0.5, "valid_action_rate": 0.9, "answer_entropy": 1.0, "answer_information": 2.0}
HEALTHY |= {"environment_steps": 1000, "steps_mean": 10.0}


def warnings_of(*records):
    watch = CollapseWatch()
    return [watch.add(HEALTHY | record) for record in records]


@pytest.mark.parametrize(
    ("metric", "fallen", "words"),
    [
        # Half of 2, three quarters of 90 %, half of 50 %: a little less is a sign, as much is not.
        ("answer_information", 0.99, "mutual information fell from 2.00 to 0.99 nats"),
        ("valid_action_rate", 0.67, "valid answers fell from 90% to 67%"),
        ("success_rate", 0.24, "success in training fell from 50% to 24%"),
    ],
)
def test_a_metric_far_below_its_highest_mean_is_told_once(metric, fallen, words):
    # The means of the last three are 2/3 old and 1/3 new, then 1/3 old, then all new: only the last is low enough.
    low = {metric: fallen}
    *none, warning, silent = warnings_of({}, {}, {}, low, low, low, low)
    assert none == [None] * 5 and silent is None
    assert warning is not None and words in warning and "--learning-rate" in warning
    enough = {metric: fallen + 0.02}
    assert warnings_of({}, {}, {}, *[enough] * 4) == [None] * 7
    # A single bad iteration is noise.
    assert warnings_of({}, {}, {}, low, {}, {}, {}) == [None] * 7


def test_success_falls_only_where_so_few_trajectories_cannot_fall_so_far_by_chance():
    # 3 × 12 trajectories: 3 √(0.5 / 36) = 0.35, so 39 % may become 14 % by chance; with 3 × 100 it is 0.12.
    few = {"environment_steps": 120, "steps_mean": 10.0}
    low, high = {"success_rate": 0.14}, {"success_rate": 0.39}
    assert warnings_of(*[few | high] * 3, *[few | low] * 3) == [None] * 6
    assert warnings_of(*[high] * 3, *[low] * 3)[-1] is not None


def test_fewer_valid_answers_of_a_policy_that_wins_more_are_no_sign():
    assert warnings_of({}, {}, {}, *[{"valid_action_rate": 0.5, "success_rate": 0.6}] * 3) == [None] * 6


def test_frozen_answers_are_a_sign_unless_success_rose():
    frozen = {"answer_entropy": 0.05}
    warning = warnings_of({}, {}, {}, frozen, frozen, frozen)[-1]
    assert warning is not None and "answers hardly vary (entropy 0.05 nats)" in warning
    assert warnings_of({}, {}, {}, *[frozen | {"success_rate": 0.6}] * 3)[-1] is None


def test_what_was_not_measured_is_no_sign():
    without = {name: value for name, value in HEALTHY.items() if name != "answer_information"}
    watch = CollapseWatch()
    assert [watch.add(without) for _ in range(5)] == [None] * 5


class _Listens(NoDisplay):
    def __init__(self):
        self.warnings: list[str] = []

    def warn(self, message):
        self.warnings.append(message)


def test_a_run_with_far_too_high_a_learning_rate_is_flagged_within_ten_iterations(tmp_path):
    display = _Listens()
    settings = half_trained(iterations=10, learning_rate=0.1, learning_rate_warmup=0, evaluation_tasks=1)
    Trainer(settings, tmp_path / "hot", display).run()
    assert any(warning.startswith("WARNING: signs of a collapse") for warning in display.warnings)
    display = _Listens()
    settings = half_trained(iterations=10, learning_rate_warmup=0, evaluation_tasks=1)
    Trainer(settings, tmp_path / "usual", display).run()
    assert display.warnings == []


def test_a_resumed_run_knows_what_was_told_before(tmp_path):
    display = _Listens()
    settings = half_trained(iterations=10, learning_rate=0.1, learning_rate_warmup=0, evaluation_tasks=1)
    hot = Trainer(settings, tmp_path, display)
    hot.run()
    assert hot.collapse.seen
    resumed = Trainer(replace(settings, iterations=11), tmp_path, _Listens())
    resumed.run()
    assert resumed.collapse.seen.keys() >= hot.collapse.seen.keys()
