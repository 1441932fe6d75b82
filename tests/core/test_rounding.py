"""Returns that are equal up to rounding count as equal; compared with exact arithmetic with fractions."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hgpo import GRPO, HGPO, RLOO, DrGRPO, GiGPO, ReinforcePlusPlus, StepTable, in_parallel
from hgpo.returns import discounted_returns, returns_to_go, whole_returns
from hgpo.rounding import PRECISION, kept_rounding, merge_equal, sums_are_equal

torch = pytest.importorskip("torch", reason="bfloat16 needs torch")


def table(*walks: tuple[str, list[float]], kept_as: Any = np.float64, task: str = "t") -> StepTable:
    """One trajectory a pair: its states, one letter each, and its rewards, kept in some precision."""
    reward = [amount for _, rewards in walks for amount in rewards]
    return StepTable(
        task_id=[task] * len(reward),
        trajectory_id=[number for number, (states, _) in enumerate(walks) for _ in states],
        step_index=[step for states, _ in walks for step in range(len(states))],
        state_key=[state for states, _ in walks for state in states],
        reward=keep(reward, kept_as),
    )


def keep(reward: list[float], kept_as: Any) -> Any:
    if isinstance(kept_as, torch.dtype):
        return torch.tensor(reward, dtype=torch.float64).to(kept_as)
    return np.array(reward).astype(kept_as)


KEPT = [np.float64, np.float32, np.float16, torch.float32, torch.float16, torch.bfloat16]
PRECISIONS = dict(zip(KEPT, [2.0**-53, 2.0**-24, 2.0**-11, 2.0**-24, 2.0**-11, 2.0**-8], strict=True))


def s_after_p_or_q(at_once: float, in_parts: list[float], kept_as: Any) -> StepTable:
    """a and b stand in s after p, c after q; a gets its reward in parts from s on, b all at once, c gets 1."""
    return table(
        ("psuv", [0.0, *in_parts]),
        ("psuv", [0.0, at_once, 0.0, 0.0]),
        ("qsww", [0.0, 1.0, 0.0, 0.0]),
        kept_as=kept_as,
    )


@pytest.mark.parametrize(
    ("in_parts", "at_once", "kept_as"),
    [
        (in_parts, at_once, kept_as)
        for in_parts, at_once in (
            ([0.3, -0.1, -0.2], 0.0),
            ([0.1, 0.1, 0.1], 0.3),
            ([10.1, 10.1, 10.1], 30.3),
            ([-0.7, 0.2, 0.1], -0.4),
            ([100.3, -100.1, -0.2], 0.0),
        )
        for kept_as in KEPT
        if PRECISIONS[kept_as] * sum(map(abs, in_parts)) < 0.2  # else 0 and 1 are not told apart
    ],
    ids=str,
)
def test_a_level_of_equal_returns_does_not_count(in_parts: list[float], at_once: float, kept_as: Any):
    # γ = 1. Level 1 holds a and b, whose returns are equal: it does not count, and level 0 with c is left.
    # There the returns are x, x, 1, with mean (2x + 1) / 3 and standard deviation √2 |1 − x| / 3: a and b
    # get (x − 1) / 3 over it, −1/√2 for x < 1 and 1/√2 for x > 1.
    steps = s_after_p_or_q(at_once, in_parts, kept_as)
    advantages = HGPO(history_length=1, discount=1.0)(steps)
    assert advantages[1] == advantages[5]
    assert advantages[1] == pytest.approx(np.sign(at_once - 1.0) / np.sqrt(2), abs=1e-4)


GROUP_ESTIMATORS = [
    HGPO(discount=1.0),
    HGPO(discount=1.0, normalization="mean"),
    HGPO(discount=1.0, peers="others"),
    HGPO(discount=1.0, peers="other_trajectories"),
    HGPO(discount=1.0, level_weights="size"),
    HGPO(discount=1.0, level_weights="reliability"),
    HGPO(discount=1.0, episode_level=True),
    HGPO.reference(discount=1.0, episode_level=True),
    GiGPO(discount=1.0),
    GRPO(),
    GRPO(statistics="rows"),
    DrGRPO(),
    RLOO(),
    ReinforcePlusPlus(),
    ReinforcePlusPlus(baseline="task"),
]


@pytest.mark.parametrize("estimator", GROUP_ESTIMATORS, ids=repr)
@pytest.mark.parametrize("kept_as", KEPT, ids=str)
@pytest.mark.parametrize("rewards", [[0.1, 0.2], [0.3, 0.0], [0.7, -0.4]])
def test_equal_returns_give_exactly_0(rewards: list[float], kept_as: Any, estimator: Any):
    # Each trajectory stands in A with 0.3 to come, however it comes, and in a state of its own after that.
    steps = table(("AB", [0.1, 0.2]), ("AC", [0.3, 0.0]), ("AD", rewards), kept_as=kept_as)
    advantages = estimator(steps)
    first = steps.step_index == 0
    rows = slice(None) if isinstance(estimator, GRPO | DrGRPO | RLOO) else first
    if not isinstance(estimator, ReinforcePlusPlus):  # which compares the rows of all states
        assert advantages[rows].tolist() == [0.0] * len(advantages[rows])
    assert len(set(advantages[first].tolist())) == 1


def test_a_row_on_the_mean_counts_as_such_in_any_precision():
    # 0.1, 0.2 and 0.3 in one state: the second lies on the mean. The recipe gives that level no weight there.
    for kept_as in KEPT:
        steps = table(("A", [0.1]), ("A", [0.2]), ("A", [0.3]), kept_as=kept_as)
        assert HGPO(history_length=0)(steps)[1] == 0.0
        assert HGPO.reference(history_length=0)(steps)[1] == 0.0


def test_real_differences_are_kept():
    # Beside rewards of 1000 a difference of 1e-6 is far above float64's rounding, and one of 0.01 above
    # float32's; late in the episode, where the 1000 is past, so is one of 1e-5.
    steps = table(("AB", [1000.0, 0.1]), ("AC", [1000.000001, 0.1]))
    assert HGPO(discount=1.0, normalization="mean")(steps)[0] == pytest.approx(-5e-7, rel=1e-3)
    steps = table(("AB", [1000.0, 0.1]), ("AC", [1000.01, 0.1]), kept_as=np.float32)
    assert HGPO(discount=1.0, normalization="mean")(steps)[0] == pytest.approx(-0.005, rel=0.01)
    steps = table(("AB", [1000.0, 0.1]), ("AB", [1000.0, 0.10001]), kept_as=np.float32)
    assert HGPO(discount=1.0, normalization="mean")(steps)[1] == pytest.approx(-5e-6, rel=1e-3)


def test_values_are_not_joined_through_one_between_them():
    # 0.5 ± 0.6 may be 0 or 1, each known to 0.1, but these are apart: it joins one of them, and which is told
    # by the order of the distances alone.
    merged = merge_equal(np.array([0.0, 1.0, 0.5]), np.array([0.1, 0.1, 0.6]), np.zeros(3, np.int64))
    assert merged[0] != merged[1] and merged[2] in merged[:2]
    # Twenty values in steps of half the width of an interval: groups of values that all may be one.
    values = np.arange(20) / 2.0
    merged = merge_equal(values, np.full(20, 0.5), np.zeros(20, np.int64))
    assert np.abs(merged - values).max() <= 0.5
    assert len(np.unique(merged)) >= 7


def test_whole_numbers_are_exact_in_any_precision():
    # In bfloat16 1 and 0.996 are neighbours; as a reward of 1 is meant to be 1, the discount is not lost in it.
    for kept_as in KEPT:
        steps = table(("AB", [0.0, 1.0]), ("AC", [1.0, 0.0]), kept_as=kept_as)
        assert HGPO(discount=0.999, normalization="mean")(steps)[0] == pytest.approx(-0.0005, rel=1e-6)
    # 512.25 is 512 in bfloat16, as all its neighbours are whole numbers: there they may well be rounded.
    assert kept_rounding(np.array([512.0]), torch.tensor([512.0], dtype=torch.bfloat16)) is not None


@pytest.mark.parametrize(
    "column",
    [
        lambda values: values.astype(np.float32),
        lambda values: torch.tensor(values).float(),
        lambda values: list(values.astype(np.float32)),
        lambda values: list(torch.tensor(values).float()),
        lambda values: values.astype(np.float32).tolist(),
        lambda values: torch.tensor(values).float().tolist(),
        lambda values: values.astype(np.float32).astype(object),
        lambda values: __import__("pandas").Series(values, dtype="float32"),
        lambda values: __import__("pandas").Series(values, dtype="float[pyarrow]"),
        lambda values: __import__("pandas").array(values, dtype="Float32"),
        lambda values: __import__("pyarrow").array(values, "float32"),
        lambda values: __import__("pyarrow").chunked_array([values], "float32"),
        lambda values: [*values[:-1].astype(np.float32), 1],
    ],
)
def test_float32_is_known_in_whatever_it_comes(column: Any):
    # 10.1 three times beside 30.3; the last reward is 1.
    reward = np.array([0.0, 10.1, 10.1, 10.1, 0.0, 30.3, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    steps = table(("psuv", [0.0] * 4), ("psuv", [0.0] * 4), ("qsww", [0.0] * 4))
    columns = {name: getattr(steps, name) for name in ("task_id", "trajectory_id", "step_index", "state_key")}
    steps = StepTable(**columns, reward=column(reward))
    assert steps.reward_rounding is not None
    assert steps.reward_rounding[1] == pytest.approx(10.1 * 2.0**-24)
    advantages = HGPO(history_length=1, discount=1.0)(steps)
    assert advantages[1] == advantages[5] == pytest.approx(1 / np.sqrt(2), abs=1e-4)


def test_numbers_that_never_were_float32_are_taken_at_their_word():
    for values in ([0.1, 10.1], [0.5, 0.25, 1.0], [1e7, 0.5], [1.0, 2.0**-20], [3, 12345678]):
        assert kept_rounding(np.array(values, np.float64), values) is None


def test_the_precision_stays_with_the_table():
    steps = s_after_p_or_q(30.3, [10.1] * 3, torch.bfloat16)
    rounding = steps.reward_rounding
    assert rounding is not None
    every_row = np.arange(len(steps))
    for same in (steps.take_tasks(every_row), steps.with_state_keys(steps.state_key)):
        assert same.reward_rounding is not None
        np.testing.assert_array_equal(same.reward_rounding, rounding)
    # Rewards that were made of others are as inexact as these.
    shifted = steps.with_rewards(steps.reward - 0.5)
    assert shifted.reward_rounding is not None
    np.testing.assert_array_equal(shifted.reward_rounding, rounding)
    told = steps.with_rewards(steps.reward, rounding=np.ones(len(steps)))
    assert told.reward_rounding is not None
    np.testing.assert_allclose(told.reward_rounding, rounding + 1.0)
    assert steps.with_rewards(steps.reward).reward_rounding is not None
    exact = table(("A", [0.1]))
    assert exact.reward_rounding is None and exact.with_rewards([0.2]).reward_rounding is None


def test_dynamic_sampling_sees_sums_and_not_their_rounding():
    assert sums_are_equal([[0.1, 0.2], [0.3]])
    assert sums_are_equal([[0.3, -0.1, -0.2], [0.0], []])
    assert sums_are_equal([[np.float32(10.1)] * 3, [np.float32(30.3)]])  # pyright: ignore[reportArgumentType]
    assert sums_are_equal([[float(np.float32(10.1))] * 3, [float(np.float32(30.3))]])
    assert not sums_are_equal([[0.1, 0.2], [0.3000001]])
    assert not sums_are_equal([[1.0], [0.0]])
    assert sums_are_equal([[1.0]]) and sums_are_equal([])


# Against exact arithmetic. Rewards are whole numbers of tenths, twentieths or hundredths; the discount is a
# decimal number. What is equal exactly must be equal here, to the last bit, and what differs by more than
# rounding can explain must differ.

unit = st.sampled_from([Fraction(1, 10), Fraction(1, 20), Fraction(1, 100)])
discounts = st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(9, 10), Fraction(95, 100), Fraction(0)])


@st.composite
def exact_tables(draw: st.DrawFn) -> tuple[StepTable, list[Fraction], Fraction, float]:
    """A table of one task, its rewards as they are meant, a discount, and the precision."""
    one, kept_as = draw(unit), draw(st.sampled_from(KEPT))
    amounts = st.integers(-30, 30).map(lambda number: number * one)
    walks = draw(st.lists(st.lists(amounts, min_size=1, max_size=4), min_size=2, max_size=5))
    states = [draw(st.text("AB", min_size=len(walk), max_size=len(walk))) for walk in walks]
    steps = table(
        *zip(states, [[float(amount) for amount in walk] for walk in walks], strict=True), kept_as=kept_as
    )
    return steps, [amount for walk in walks for amount in walk], draw(discounts), PRECISIONS[kept_as]


def exact_returns(
    steps: StepTable, rewards: list[Fraction], discount: Fraction
) -> tuple[list[Fraction], list[Fraction]]:
    """Returns to go and, with absolute values, the size of what was added up."""
    returns, sizes = [Fraction(0)] * len(rewards), [Fraction(0)] * len(rewards)
    for row in reversed(range(len(rewards))):
        last = row + 1 == len(rewards) or steps.step_index[row + 1] == 0
        returns[row] = rewards[row] + (0 if last else discount * returns[row + 1])
        sizes[row] = abs(rewards[row]) + (0 if last else discount * sizes[row + 1])
    return returns, sizes


@given(exact_tables())
def test_returns_are_equal_exactly_where_exact_ones_are(
    drawn: tuple[StepTable, list[Fraction], Fraction, float],
):
    steps, rewards, discount, precision = drawn
    exact, sizes = exact_returns(steps, rewards, discount)
    found = returns_to_go(steps, float(discount))
    # "Well above the precision": four times what the roundings of both can add up to.
    off = [4 * (precision + 1e-12) * float(size) for size in sizes]
    far = all(
        one == other or abs(float(one - other)) > off_one + off_other
        for one, off_one in zip(exact, off, strict=True)
        for other, off_other in zip(exact, off, strict=True)
    )
    for row, value in enumerate(exact):
        assert abs(float(Fraction(found.values[row]) - value)) <= off[row]
        for other in range(row):
            if far:
                assert (found.values[row] == found.values[other]) == (value == exact[other])
            elif abs(float(value - exact[other])) > off[row] + off[other]:
                assert found.values[row] != found.values[other]


@given(exact_tables())
def test_hgpo_is_exactly_0_where_exact_arithmetic_is(
    drawn: tuple[StepTable, list[Fraction], Fraction, float],
):
    """HGPO with K = 0 and one estimator over whole trajectories, their groups' means as fractions."""
    steps, rewards, discount, precision = drawn
    exact, sizes = exact_returns(steps, rewards, discount)
    advantages = HGPO(history_length=0, discount=float(discount), normalization="mean")(steps)
    for row, value in enumerate(exact):
        group = [other for other in range(len(exact)) if steps.state_key[other] == steps.state_key[row]]
        deviation = value - sum((exact[other] for other in group), Fraction(0)) / len(group)
        if deviation == 0:
            assert advantages[row] == 0.0
        else:
            slack = 4 * (precision + 1e-12) * float(sizes[row] + max(sizes[other] for other in group))
            assert advantages[row] == pytest.approx(float(deviation), abs=slack)


@given(exact_tables())
def test_trajectories_that_are_worth_the_same_get_the_same(
    drawn: tuple[StepTable, list[Fraction], Fraction, float],
):
    steps, rewards, _, precision = drawn
    exact, sizes = exact_returns(steps, rewards, Fraction(1))
    first = np.flatnonzero(steps.step_index == 0)
    worth = [exact[row] for row in first]
    found = whole_returns(steps).values[first]
    apart = min((abs(a - b) for a in worth for b in worth if a != b), default=Fraction(1))
    assume(float(apart) > 8 * (precision + 1e-12) * float(max(sizes)))
    for row, value in enumerate(worth):
        for other, another in enumerate(worth):
            assert (found[row] == found[other]) == (value == another)
    if len(set(worth)) == 1:
        for estimator in (GRPO(), DrGRPO(), RLOO(), HGPO(episode_level=True, history_length=0, discount=1.0)):
            assert not estimator(steps)[first].any() or isinstance(estimator, HGPO)


@given(st.lists(exact_tables(), min_size=1, max_size=4), st.integers(2, 4), st.sampled_from(KEPT))
def test_threads_agree_on_what_is_equal(drawn: list[Any], workers: int, kept_as: Any):
    columns: dict[str, list[Any]] = {
        name: [] for name in ("task_id", "trajectory_id", "step_index", "state_key")
    }
    reward: list[float] = []
    for number, (steps, rewards, _, _) in enumerate(drawn):
        columns["task_id"] += [number] * len(steps)
        columns["trajectory_id"] += [(number, trajectory) for trajectory in steps.trajectory_code.tolist()]
        columns["step_index"] += steps.step_index.tolist()
        columns["state_key"] += steps.state_key.tolist()
        reward += map(float, rewards)
    steps = StepTable(**columns, reward=keep(reward, kept_as))
    for estimator in (HGPO(), HGPO.reference(episode_level=True), GiGPO(), GRPO(), RLOO()):
        np.testing.assert_array_equal(in_parallel(estimator, steps, workers), estimator(steps))


def test_plain_sums_are_left_as_they_are():
    steps = table(("A", [0.3]), ("AB", [0.1, 0.2]))
    assert discounted_returns(steps, 1.0)[0] == 0.3 and discounted_returns(steps, 1.0)[1] == 0.1 + 0.2
    assert returns_to_go(steps, 1.0).values[0] == returns_to_go(steps, 1.0).values[1]
    assert set(PRECISION) == {"float16", "bfloat16", "float32"}
