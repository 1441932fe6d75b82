import copy
from typing import Any

import numpy as np
import pytest
from golden_cases import golden_cases, skipped
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows

from hgpo import HGPO, StepTable
from hgpo.returns import discounted_returns, trajectory_returns

torch = pytest.importorskip("torch", reason="the verl-agent adapter needs torch")

from hgpo.adapters.verl_agent import compute_hgpo_outcome_advantage  # noqa: E402


def as_batch(
    rows: list[dict], discount: float = 0.95, penalty: float = 0.1, response_length: int = 3
) -> dict:
    """The recipe's own inputs: returns and scores with penalties, no step index."""
    steps = StepTable.from_rows(rows)
    scores = trajectory_returns(steps, invalid_penalty=penalty)
    token_level_rewards = np.zeros((len(rows), response_length))
    token_level_rewards[:, -1] = scores
    return {
        "token_level_rewards": torch.tensor(token_level_rewards, dtype=torch.float32),
        "step_rewards": torch.tensor(discounted_returns(steps, discount, invalid_penalty=penalty)),
        "response_mask": torch.ones(len(rows), response_length),
        "anchor_obs": np.array([row["state_key"] for row in rows], dtype=object),
        "index": np.array([row["task_id"] for row in rows], dtype=object),
        "traj_index": np.array([row["trajectory_id"] for row in rows], dtype=object),
    }


def two_kitchens(**changes: Any) -> dict[str, Any]:
    # Two one-step rollouts in the same state with returns 3 and 1: advantages ±1 in "mean_norm", as the one
    # level that counts has weight 2 / (2 + 1e-6).
    batch: dict[str, Any] = {
        "token_level_rewards": torch.zeros(2, 3),
        "step_rewards": torch.tensor([3.0, 1.0]),
        "response_mask": torch.tensor([[1, 1, 0], [1, 0, 0]]),
        "anchor_obs": ["kitchen", "kitchen"],
        "index": ["tea", "tea"],
        "traj_index": ["x", "y"],
        "history_length": 2,
        "mode": "mean_norm",
    }
    return batch | changes


def test_a_rows_advantage_goes_to_its_response_tokens():
    advantages, returns = compute_hgpo_outcome_advantage(**two_kitchens())
    torch.testing.assert_close(advantages, torch.tensor([[1.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]))
    assert returns is advantages and advantages.dtype == torch.float32


def test_the_settings_reach_the_estimator():
    # ε = 1 beside the weights (2 / 3) and, in mean_std_norm, beside the std of 1 (1 / 2): 2/3 · 1/2 = 1/3.
    batch = two_kitchens(mode="mean_std_norm", epsilon=1.0)
    assert compute_hgpo_outcome_advantage(**batch)[0][0, 0].item() == pytest.approx(1 / 3)


def test_the_rank_within_the_trajectory_is_the_step():
    # x and y in turns, both A then B. In A ±0.5; AB is shared at level 1, which counts alone as α = ∞: ±2.
    batch: dict[str, Any] = {
        "token_level_rewards": torch.zeros(4, 1),
        "step_rewards": torch.tensor([1.0, 0.0, 4.0, 0.0]),
        "response_mask": torch.ones(4, 1),
        "anchor_obs": ["A", "A", "B", "B"],
        "index": [0, 0, 0, 0],
        "traj_index": ["x", "y", "x", "y"],
    }
    advantages, _ = compute_hgpo_outcome_advantage(
        **batch, history_length=1, mode="mean_norm", length_weight_alpha=float("inf")
    )
    torch.testing.assert_close(advantages[:, 0], torch.tensor([0.5, -0.5, 2.0, -2.0]))


@pytest.mark.parametrize(
    "state",
    [
        np.array([[1, 2], [3, 4]]),
        {"page": "home", "items": [1, 2]},
        ["home", ["a", np.array([1.0])]],
        7,
    ],
)
def test_states_of_any_shape_are_compared_by_value(state):
    states = np.empty(2, dtype=object)
    states[0], states[1] = state, copy.deepcopy(state)
    advantages, _ = compute_hgpo_outcome_advantage(**two_kitchens(anchor_obs=states))
    assert advantages[0, 0] > 0.99
    states[1] = "elsewhere"
    advantages, _ = compute_hgpo_outcome_advantage(**two_kitchens(anchor_obs=states))
    assert advantages.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, "1"),
        ({"n": 1}, {"n": 1.0}),
        (np.array([[1, 2]]), np.array([1, 2])),
        (np.array([1, 2]), np.array([1.0, 2.0])),
        (np.array(["a"]), ["a"]),
    ],
    ids=repr,
)
def test_different_states_that_look_alike_are_told_apart(one: Any, other: Any):
    advantages, _ = compute_hgpo_outcome_advantage(**two_kitchens(anchor_obs=[one, other]))
    assert advantages.tolist() == [[0.0] * 3] * 2


def test_zeros_of_either_sign_are_one_state():
    states = [np.array([0.0, 1.0]), np.array([-0.0, 1.0])]
    assert compute_hgpo_outcome_advantage(**two_kitchens(anchor_obs=states))[0][0, 0] > 0.99


def test_ids_may_be_tensors_of_numbers():
    # Two trajectories of two rows each, as in the test of ranks above: at level 1, x and y meet in AB.
    advantages, _ = compute_hgpo_outcome_advantage(
        torch.zeros(4, 1),
        torch.tensor([1.0, 0.0, 4.0, 0.0]),
        torch.ones(4, 1),
        ["A", "A", "B", "B"],
        torch.zeros(4, dtype=torch.int64),
        torch.tensor([7, 8, 7, 8]),
        history_length=1,
        mode="mean_norm",
        length_weight_alpha=float("inf"),
    )
    torch.testing.assert_close(advantages[:, 0], torch.tensor([0.5, -0.5, 2.0, -2.0]))


def golden_params() -> list[Any]:
    cases = golden_cases()
    return skipped(None) if cases is None else [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", golden_params())
def test_golden_cases_through_the_recipes_signature(case: dict):
    names = {
        "task_id": "group",
        "trajectory_id": "trajectory",
        "step_index": "step",
        "state_key": "state",
        "reward": "reward",
        "action_valid": "valid",
    }
    rows = [{name: row[old] for name, old in names.items()} for row in case["rows"]]
    for run in case["runs"]:
        params = run["params"]
        advantages, _ = compute_hgpo_outcome_advantage(
            **as_batch(rows, params["gamma"], params["invalid_penalty"]),
            history_length=params["history_length"],
            mode=params["normalization"],
            length_weight_alpha=params["alpha"],
            base_group=params["base_group"],
        )
        # float32 scores come in and float32 advantages go out, hence 1e-5 here.
        np.testing.assert_allclose(advantages[:, 0].numpy(), run["expected"]["hgpo"], rtol=0, atol=1e-5)


@given(any_rows(), st.booleans())
def test_it_is_the_reference_preset(rows: Rows, base_group: bool):
    advantages, _ = compute_hgpo_outcome_advantage(
        **as_batch(rows),
        history_length=2,
        base_group=base_group,
        step_index=[row["step_index"] for row in rows],
    )
    expected = HGPO.reference(invalid_penalty=0.1, episode_level=base_group)(StepTable.from_rows(rows))
    # float32 rewards come in and float32 advantages go out, hence 1e-5 here.
    np.testing.assert_allclose(advantages[:, 0].numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_equal_returns_in_any_precision_give_exactly_0(dtype):
    # From A on x gets 0.3 and y 0.1 three times, γ = 1; z is elsewhere. Summed up step by step in the
    # precision of the tensor, 0.1 + (0.1 + 0.1) is not 0.3.
    one, three = (torch.tensor(value, dtype=dtype) for value in (0.1, 0.3))
    zero = torch.tensor(0.0, dtype=dtype)
    returns = torch.stack([three, zero, zero, one + (one + one), one + one, one, three + three])
    scores = torch.stack([three] * 3 + [one + (one + one)] * 3 + [three])
    advantages, _ = compute_hgpo_outcome_advantage(
        scores[:, None],
        returns,
        torch.ones(7, 1),
        ["A", "B", "C", "A", "D", "E", "F"],
        ["t"] * 7,
        ["x"] * 3 + ["y"] * 3 + ["z"],
        history_length=1,
        base_group=True,
        step_index=[0, 1, 2, 0, 1, 2, 0],
    )
    assert advantages[:, 0].tolist() == [0.0] * 7


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mode": "mean_std"}, ValueError, "mode is 'mean_std'; choose from 'mean_std_norm', 'mean_norm'"),
        ({"step_rewards": torch.tensor([1.0, float("nan")])}, ValueError, "row 1: step_rewards is nan"),
        (
            {"step_rewards": torch.zeros(3)},
            ValueError,
            r"step_rewards has shape \(3,\); response_mask has 2 rows",
        ),
        ({"traj_index": ["x"]}, ValueError, "traj_index has 1 rows but response_mask has 2"),
        ({"index": ["tea", "milk"], "traj_index": ["x", "x"]}, ValueError, "trajectory 'x' is in task"),
        ({"anchor_obs": ["a", {1, 2}]}, TypeError, "row 1: anchor_obs is a set that cannot be hashed"),
        ({"anchor_obs": ["a", None]}, ValueError, "row 1: anchor_obs is None, a missing value"),
        ({"anchor_obs": ["a", np.array([1, np.nan])]}, ValueError, "row 1: anchor_obs holds nan, a missing"),
        ({"anchor_obs": [torch.ones(2)] * 2}, TypeError, "row 0: anchor_obs is a Tensor that is compared by"),
        ({"anchor_obs": torch.ones(2, 2)}, TypeError, "row 0: anchor_obs is a Tensor"),
        (
            {"anchor_obs": np.array([{"image": torch.ones(2)}] * 2)},
            TypeError,
            "row 0: anchor_obs holds a Ten",
        ),
        ({"anchor_obs": [object(), "a"]}, TypeError, "row 0: anchor_obs is an object that is compared by"),
        ({"index": ["tea", None]}, ValueError, "row 1: index is None, a missing value"),
        ({"index": [torch.tensor(1)] * 2}, TypeError, "row 0: index is a Tensor"),
        ({"traj_index": ["x", float("nan")]}, ValueError, "row 1: traj_index is nan, a missing value"),
        ({"traj_index": [torch.tensor(1)] * 2}, TypeError, "row 0: traj_index is a Tensor"),
        ({"history_length": -1}, ValueError, "history_length is -1"),
    ],
)
def test_faults_are_named(changes: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        compute_hgpo_outcome_advantage(**two_kitchens(**changes))
