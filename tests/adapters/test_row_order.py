"""The recipe's function with rows that were copied, dropped or reordered before the call."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, walk_rows

from hgpo import StepTable
from hgpo.returns import discounted_returns

torch = pytest.importorskip("torch", reason="the verl-agent adapter needs torch")

from hgpo.adapters.verl_agent import compute_hgpo_outcome_advantage  # noqa: E402

# γ = 0.95 and one reward, at the end, as in ALFWorld and WebShop. The returns of the first walk are
# 10 γ³, 10 γ², 10 γ, 10; rows 0 … 3. The second has rows 4 … 6, the third 7 … 9, the last, which fails, 10 … 14.
WALKS = walk_rows(
    ("ABCD", [0.0, 0.0, 0.0, 10.0]),
    ("ABD", [0.0, 0.0, 10.0]),
    ("ACD", [0.0, 0.0, 5.0]),
    ("ABCAB", [0.0] * 5),
)


def advantages_of(
    places: list[int], rows: Rows = WALKS, discount: float = 0.95, numbered: bool = False
) -> list[float]:
    """One advantage for each index of a row in the batch before it was changed."""
    steps = StepTable.from_rows(rows)
    penalty = 0.0 if steps.action_valid is None else 0.1
    returns = torch.tensor(discounted_returns(steps, discount, invalid_penalty=penalty)[places]).float()
    columns: dict[str, Any] = {
        name: [rows[place][column] for place in places]
        for name, column in (
            ("anchor_obs", "state_key"),
            ("index", "task_id"),
            ("traj_index", "trajectory_id"),
        )
    }
    advantages, _ = compute_hgpo_outcome_advantage(
        torch.zeros(len(places), 1),
        returns,
        torch.ones(len(places), 1),
        **columns,
        history_length=2,
        step_index=[rows[place]["step_index"] for place in places] if numbered else None,
    )
    return advantages[:, 0].tolist()


ROLLED_OUT = list(range(len(WALKS)))


def test_rows_as_they_were_rolled_out_are_not_complained_of():
    expected = advantages_of(ROLLED_OUT)
    assert advantages_of(ROLLED_OUT, numbered=True) == expected
    # Trajectories in turns: within each the rows stand in time order.
    in_turns = sorted(ROLLED_OUT, key=lambda row: WALKS[row]["step_index"])
    assert advantages_of(in_turns) == pytest.approx([expected[row] for row in in_turns])


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([*ROLLED_OUT, 0], "'task/0': row 15 is a copy of row 0, .* the same state and the same return"),
        ([*ROLLED_OUT, 4, 5], "'task/1': row 15 is a copy of row 4"),
        ([0, 0, *ROLLED_OUT[1:]], "'task/0': row 1 is a copy of row 0"),
    ],
)
def test_a_copy_is_an_error(places: list[int], message: str):
    with pytest.raises(ValueError, match=f"{message}.* the discount of 0.95.*: give step_index=, or call"):
        advantages_of(places)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            [1, 0, *ROLLED_OUT[2:]],
            "time does not run from row 0 to row 1, .* 9.025 and 8.57375 are -1 steps apart",
        ),
        (
            [1, 2, 3, 0, *ROLLED_OUT[4:]],
            "time does not run from row 2 to row 3, .* 10 and 8.57375 are -3 steps apart",
        ),
        (
            [0, 1, 3, *ROLLED_OUT[4:]],
            "a row is missing between row 1 and row 2, .* 9.025 and 10 are 2 steps apart",
        ),
    ],
)
def test_another_order_and_missing_rows_are_a_suspicion(places: list[int], message: str):
    with pytest.warns(UserWarning, match=f"'task/0': .*{message}.* discount of 0.95.*: give step_index="):
        advantages_of(places)


def test_pairs_of_rows_tell_if_they_are_of_different_size():
    pairs = walk_rows(("AB", [0.0, 10.0]), ("AB", [0.0, 5.0]))
    with pytest.warns(UserWarning, match="time does not run from row 0 to row 1"):
        advantages_of([1, 0, 2, 3], pairs)
    # γ = 1: 9.9 beside 10 is a penalty of 0.1, of which there may be many, and no discount.
    penalized = walk_rows(("AAA", [-0.1, 0.0, 10.0]), ("AAA", [-0.1, 0.0, 10.0]))
    advantages_of(list(range(6)), penalized, discount=1.0)


def test_a_return_of_0_tells_nothing():
    # Of the last walk, which fails, no row is known from another: a copy of it goes unseen, and counts.
    advantages_of([*ROLLED_OUT, 10])


@given(st.permutations(ROLLED_OUT), st.lists(st.sampled_from(ROLLED_OUT), max_size=5))
def test_numbered_rows_may_be_copied_and_reordered(order: list[int], copies: list[int]):
    expected = advantages_of(ROLLED_OUT)
    places = [*order, *copies]
    assert advantages_of(places, numbered=True) == pytest.approx([expected[row] for row in places])


def test_numbers_that_do_not_fit_are_errors():
    def numbered(steps: Any, returns: list[float]) -> None:
        compute_hgpo_outcome_advantage(
            torch.zeros(3, 1),
            torch.tensor(returns),
            torch.ones(3, 1),
            ["A", "B", "B"],
            ["t"] * 3,
            ["x"] * 3,
            history_length=1,
            step_index=steps,
        )

    numbered(torch.tensor([0, 1, 1]), [1.0, 2.0, 2.0])
    with pytest.raises(
        ValueError, match="row 2: step 1 of its trajectory is given twice, first in row 1, and step_rewards"
    ):
        numbered([0, 1, 1], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"row 1: step 0 .* twice, first in row 0, and anchor_obs differs"):
        numbered([0, 0, 1], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="row 2: trajectory 'x' has step 3 but no step 2"):
        numbered([0, 1, 3], [1.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="row 0: step_index is -1"):
        numbered([-1, 0, 1], [1.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="step_index has 2 rows but response_mask has 3"):
        numbered([0, 1], [1.0, 2.0, 2.0])
    with pytest.raises(TypeError, match=r"row 0: step_index is 0.5; give an integer"):
        numbered([0.5, 1, 2], [1.0, 2.0, 2.0])


@pytest.mark.parametrize("discount", [1.0, 0.99, 0.95, 0.9])
@pytest.mark.parametrize("kind", ["end", "end and on the way", "every step", "cost of each step", "noise"])
def test_true_batches_of_many_kinds_are_not_complained_of(kind: str, discount: float):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        walks = []
        for _ in range(12):
            length = int(rng.integers(3, 20))
            rewards = np.zeros(length)
            if kind.startswith("end"):
                rewards[-1] = rng.choice([0.0, 10.0, 5.0])
            if kind == "end and on the way":
                rewards[rng.integers(length)] += 0.7
            if kind == "every step":
                rewards += 1.0
            if kind == "cost of each step":
                rewards += -0.1
                rewards[-1] += 10.0 * rng.integers(2)
            if kind == "noise":
                rewards += rng.normal(size=length)
            walks.append(("".join(rng.choice(list("ABC"), size=length)), rewards.tolist()))
        rows = walk_rows(*walks)
        for row in rows:  # no reward follows an action that is not valid
            row["action_valid"] = bool(rng.random() < 0.9) or row["reward"] > 0
        advantages_of(list(range(len(rows))), rows, discount)
