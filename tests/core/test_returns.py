import numpy as np
import plain_loop
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows, walks

from hgpo import StepTable
from hgpo.returns import discounted_returns, trajectory_returns


def test_a_reward_is_worth_less_the_further_it_is_away():
    # γ = 0.5, from the end: 8; 2 + 0.5·8 = 6; 0 + 0.5·6 = 3. The second trajectory gets none of it.
    steps = walks(("ABC", [0.0, 2.0, 8.0]), ("A", [1.0]))
    assert discounted_returns(steps, 0.5).tolist() == [3.0, 6.0, 8.0, 1.0]


def test_discount_0_is_the_reward_and_1_the_sum():
    steps = walks(("ABC", [1.0, 2.0, 4.0]))
    assert discounted_returns(steps, 0.0).tolist() == [1.0, 2.0, 4.0]
    assert discounted_returns(steps, 1.0).tolist() == [7.0, 6.0, 4.0]


def test_one_long_trajectory_reaches_its_closed_form():
    # A reward of 1 at each of T steps: R_t = (1 − γ^(T−t)) / (1 − γ), and 1/(1 − γ) = 20 far from the end.
    length = 1000
    steps = StepTable(
        task_id=[0] * length,
        trajectory_id=[0] * length,
        step_index=range(length),
        state_key=[0] * length,
        reward=[1.0] * length,
    )
    left = np.arange(length, 0, -1)
    np.testing.assert_allclose(discounted_returns(steps, 0.95), (1 - 0.95**left) / 0.05, rtol=1e-13)


def test_the_same_rewards_to_come_give_bit_for_bit_the_same_return():
    # Success 3 steps away, from step 0 of one trajectory and from step 5 of another.
    steps = walks(("ABCD", [0, 0, 0, 10.0]), ("ABCDEFGHI", [0] * 8 + [10.0]))
    returns = discounted_returns(steps, 0.95)
    assert returns[0] == returns[4 + 5]


def test_the_penalty_stays_on_its_row_or_reaches_the_earlier_ones():
    # γ = 0.5, 0.1 off row 1. On the row: R = [4, 8, 16] − [0, 0.1, 0].
    # As reward: the rewards are [0, −0.1, 16], so R_1 = −0.1 + 8 and R_0 = 0.5·7.9.
    steps = walks(("ABC", [0.0, 0.0, 16.0]), valid=[True, False, True])
    np.testing.assert_allclose(discounted_returns(steps, 0.5, invalid_penalty=0.1), [4.0, 7.9, 16.0])
    np.testing.assert_allclose(
        discounted_returns(steps, 0.5, invalid_penalty=0.1, propagate_penalty=True), [3.95, 7.9, 16.0]
    )
    # The trajectory's sum: 16, less 0.1 on that row or on all.
    np.testing.assert_allclose(trajectory_returns(steps, invalid_penalty=0.1), [16.0, 15.9, 16.0])
    np.testing.assert_allclose(
        trajectory_returns(steps, invalid_penalty=0.1, propagate_penalty=True), [15.9, 15.9, 15.9]
    )


@given(any_rows(), st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.sampled_from([0.0, 0.1]), st.booleans())
def test_returns_equal_the_plain_loop(rows: Rows, discount: float, penalty: float, propagate: bool):
    steps = StepTable.from_rows(rows)
    if not rows:
        return
    np.testing.assert_allclose(
        discounted_returns(steps, discount, invalid_penalty=penalty, propagate_penalty=propagate),
        list(map(float, plain_loop.returns_to_go(rows, discount, penalty, propagate))),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        trajectory_returns(steps, invalid_penalty=penalty, propagate_penalty=propagate),
        list(map(float, plain_loop.trajectory_scores(rows, penalty, propagate))),
        atol=1e-12,
    )


def test_a_penalty_needs_to_know_which_actions_were_valid():
    with pytest.raises(ValueError, match="action_valid"):
        discounted_returns(walks(("A", [0.0])), 0.95, invalid_penalty=0.1)


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_a_discount_lies_between_0_and_1(discount: float):
    with pytest.raises(ValueError, match=r"discount is .*; give a number between 0 and 1"):
        discounted_returns(walks(("A", [0.0])), discount)
