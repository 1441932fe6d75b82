import dataclasses
from typing import Any

import numpy as np
import pytest
from tables import walk_rows

from hgpo import ESTIMATORS, PPO, StepTable


def columns(**changes: Any) -> dict[str, Any]:
    """Two rollouts of one task, two steps each."""
    table: dict[str, Any] = {
        "task_id": ["t", "t", "t", "t"],
        "trajectory_id": ["x", "x", "y", "y"],
        "step_index": [0, 1, 0, 1],
        "state_key": ["A", "B", "A", "C"],
        "reward": [0.0, 1.0, 0.0, 0.0],
    }
    return table | changes


def test_codes_are_equal_where_the_values_are():
    steps = StepTable(**columns())
    assert steps.task_code.tolist() == [0, 0, 0, 0]
    assert steps.trajectory_code.tolist() == [0, 0, 1, 1]
    assert steps.state_code.tolist() == [0, 1, 0, 2]
    assert len(steps) == 4
    assert repr(steps) == "StepTable(4 rows, 2 trajectories, 1 tasks)"


def test_time_order_follows_the_step_index_and_not_the_row():
    steps = StepTable(**columns(step_index=[1, 0, 0, 1]))
    assert steps.time_order.tolist() == [1, 0, 2, 3]


@pytest.mark.parametrize(
    "keys",
    [
        [("A", 1), ("B", 1), ("A", 1), ("C", 1)],
        [b"a", b"b", b"a", b"c"],
        [7, 3, 7, 9],
        np.array([7, 3, 7, 9]),
        np.array(["A", "B", "A", "C"]),
        [np.int64(7), np.float64(3.0), 7, np.str_("C")],
        [frozenset("A"), True, frozenset("A"), "C"],
    ],
)
def test_a_state_key_is_anything_hashable(keys: Any):
    # Rows 0 and 2 share a key, the others do not.
    codes = StepTable(**columns(state_key=keys)).state_code
    assert codes[0] == codes[2]
    assert len(set(codes.tolist())) == 3


def test_columns_are_tuples_arrays_or_lists_and_come_out_read_only():
    rewards = np.array([0.0, 1.0, 0.0, 0.0])
    steps = StepTable(
        **columns(task_id=("t",) * 4, step_index=np.array([0, 1, 0, 1], np.int32), reward=rewards)
    )
    rewards[1] = 5
    assert steps.reward.tolist() == [0.0, 1.0, 0.0, 0.0]  # a copy
    with pytest.raises(ValueError, match="read-only"):
        steps.reward[0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        steps.reward = rewards  # pyright: ignore[reportAttributeAccessIssue]


def test_a_changed_copy_is_checked_again():
    steps = StepTable(**columns())
    assert dataclasses.replace(steps, reward=[1, 2, 3, 4]).reward.tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="row 2: reward is inf"):
        dataclasses.replace(steps, reward=[0, 0, np.inf, 0])


def test_optional_columns():
    steps = StepTable(
        **columns(),
        observation=["a", "b", "a", "c"],
        action=["go", "go", "go", "stay"],
        action_valid=[True, True, False, True],
        terminated=[False, True, False, False],
        truncated=[False, False, False, True],
        prompt_tokens=[[1, 2], [3], [1, 2], []],
        response_tokens=[[4], [5, 6], [4], [7]],
        response_logprobs=[[-0.1], [-0.2, -0.3], [-0.1], [0.0]],
        policy_version=[3, 3, 3, 4],
    )
    assert steps.prompt_tokens is not None and [len(tokens) for tokens in steps.prompt_tokens] == [2, 1, 2, 0]
    assert steps.action_valid is not None and steps.action_valid.dtype == np.bool_
    assert StepTable(**columns()).action is None


def test_from_rows_equals_the_columns():
    steps = StepTable.from_rows(walk_rows(("AB", [0.0, 1.0]), ("AC", [0.0, 0.0])))
    assert steps.state_key.tolist() == ["A", "B", "A", "C"]
    assert steps.step_index.tolist() == [0, 1, 0, 1]
    assert steps.observation is None


def test_empty_in_empty_out():
    for empty in (StepTable.from_rows([]), StepTable(**{name: [] for name in columns()}, value=[])):
        assert len(empty) == 0
        for estimator in ESTIMATORS.values():
            if estimator is PPO and empty.value is None:
                continue
            advantages = estimator()(empty)
            assert advantages.shape == (0,) and advantages.dtype == np.float64


# Each message names the row and the cure; the pattern shows both.
FAULTS = [
    (
        {"step_index": [0, 2, 0, 1]},
        ValueError,
        "row 1: trajectory 'x' has step 2 but no step 1;.*give every one",
    ),
    ({"step_index": [1, 2, 0, 1]}, ValueError, "row 1: trajectory 'x' has step 2 but no step 0"),
    (
        {"step_index": [0, 0, 0, 1]},
        ValueError,
        "row 1: step 0 of trajectory 'x' is given twice, first in row 0; drop",
    ),
    (
        {"step_index": [0, 1, -1, 0]},
        ValueError,
        "row 2: step_index is -1; the first step of a trajectory is 0",
    ),
    (
        {"step_index": [0, 1, 0, 0.5]},
        TypeError,
        "row 3: step_index is 0.5; give an integer",
    ),
    (
        {"task_id": ["t", "t", "t", "u"]},
        ValueError,
        "row 2: trajectory 'y' is in task 't', but in row 3 .*make ids",
    ),
    ({"reward": [0, float("nan"), 0, 0]}, ValueError, "row 1: reward is nan; give a finite number"),
    ({"reward": [0, 0, 0, -float("inf")]}, ValueError, "row 3: reward is -inf; give a finite number"),
    ({"reward": [0, 0, None, 0]}, TypeError, "row 2: reward is None; give a finite number"),
    ({"reward": [0, 0, 0, "1"]}, TypeError, "row 3: reward is '1'; give a finite number"),
    (
        {"reward": [0, 0, 0]},
        ValueError,
        "reward has 3 rows but task_id has 4, so row 3 is incomplete; every column",
    ),
    ({"reward": 1.0}, TypeError, "reward is a float; pass a list"),
    ({"task_id": "tttt"}, TypeError, "task_id is a str; pass a list"),
    ({"state_key": ["A", "B", ["A"], "C"]}, TypeError, "row 2: state_key is a list .* tuple"),
    ({"state_key": ["A", {"b": 1}, "A", "C"]}, TypeError, "row 1: state_key is a dict .* tuple"),
    ({"state_key": [np.zeros(2)] * 4}, TypeError, r"row 0: state_key is a ndarray .* array.tobytes\(\)"),
    ({"state_key": np.zeros((4, 2))}, TypeError, r"state_key has shape \(4, 2\).*tobytes"),
    ({"action_valid": [1, 1, 1, 1]}, TypeError, "row 0: action_valid is 1; give True or False"),
    (
        {"response_tokens": [[1], [1], [1], [1, 2]], "response_logprobs": [[0.0]] * 4},
        ValueError,
        "row 3: 2 response_tokens but 1 response_logprobs; give one",
    ),
    ({"prompt_tokens": [[1], 2, [1], [1]]}, TypeError, "row 1: prompt_tokens is 2; give a flat list"),
]


@pytest.mark.parametrize(("changes", "error", "message"), FAULTS)
def test_a_fault_names_the_row_and_the_cure(changes: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        StepTable(**columns(**changes))


def test_from_rows_names_a_missing_or_misspelt_key():
    rows = walk_rows(("AB", [0.0, 1.0]))
    del rows[1]["reward"]
    with pytest.raises(ValueError, match=r"row 1: 'reward' is missing; give it in every row$"):
        StepTable.from_rows(rows)
    rows[1]["rewards"] = 1.0
    with pytest.raises(ValueError, match=r"row 1: there is no column 'rewards'; columns: task_id, .*reward"):
        StepTable.from_rows(rows)
    rows = walk_rows(("AB", [0.0, 1.0]))
    rows[0]["action"] = "go"
    with pytest.raises(ValueError, match="row 1: 'action' is missing; give it in every row or in none"):
        StepTable.from_rows(rows)


def test_actions_are_the_same_by_key_or_by_text_and_all_invalid_ones_are_one():
    by_text = StepTable(**columns(action=["go", "look", "go", "Go"]))
    assert len(set(by_text.action_code.tolist())) == 3  # "Go" is another text
    by_key = StepTable(
        **columns(action=["go", "look", "go", "Go"], action_key=[("go",), 1, ("go",), ("go",)])
    )
    first, second, third, fourth = by_key.action_code
    assert first == third == fourth != second
    invalid = StepTable(**columns(action=["go", "x", "y", "go"], action_valid=[True, False, False, False]))
    first, second, third, fourth = invalid.action_code
    assert second == third == fourth != first


def test_actions_of_some_tasks_are_told_apart_as_in_the_whole_table():
    rows = {"task_id": ["t", "t", "u", "u"], "trajectory_id": list("wxyz"), "step_index": [0] * 4}
    keys = {"action": ["a", "b", "b", "b"], "action_valid": [True, True, False, True]}
    steps = StepTable(**rows, **keys, state_key=["S"] * 4, reward=[0.0] * 4)
    first, second = steps.take_tasks(np.array([2, 3])).action_code
    assert first == 0 < second


def test_a_table_without_actions_says_what_to_give():
    with pytest.raises(ValueError, match=r"tells actions apart.* StepTable\(action=…\).*action_key=…"):
        _ = StepTable(**columns()).action_code
    with pytest.raises(TypeError, match=r"row 1: action_key is a list .* tuple"):
        _ = StepTable(**columns(action_key=["a", ["b"], "c", "d"])).action_code


def test_further_state_keys_are_columns_or_one_mapping_per_row():
    by_name = StepTable(**columns(state_keys={"seen": list("aabb"), "true": [1, 2, 3, 1]}))
    by_row = StepTable(
        **columns(state_keys=[{"seen": s, "true": t} for s, t in zip("aabb", (1, 2, 3, 1), strict=True)])
    )
    for steps in (by_name, by_row):
        assert steps.state_keys["seen"].tolist() == list("aabb")
        assert steps.codes_of_key("true").tolist() == [0, 1, 2, 0]
        assert steps.codes_of_key("state_key") is steps.state_code
        assert not steps.codes_of_key("true").flags.writeable
    assert StepTable(**columns()).state_keys == {}
    assert StepTable.from_rows([]).state_keys == {}


@pytest.mark.parametrize(
    ("state_keys", "error", "message"),
    [
        ({"true": [1, 2]}, ValueError, "state_key_true has 2 rows but task_id has 4"),
        ({"true": [1, 2, None, 4]}, ValueError, "row 2: state_key_true is None, a missing value"),
        ({"true": [1, [2], 3, 4]}, TypeError, "row 1: state_key_true is a list that cannot be hashed"),
        ([{"true": 1}] * 3 + [{"seen": 1}], ValueError, r"row 3: state_keys has \['seen'\], but row 0 has"),
        ([{"true": 1}] * 3 + ["seen"], TypeError, "row 3: state_keys is 'seen'; give a mapping"),
        ({1: [1, 2, 3, 4]}, TypeError, "state_keys has the name 1; names are texts"),
    ],
)
def test_further_state_keys_that_cannot_be(state_keys: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        StepTable(**columns(state_keys=state_keys))


def test_further_state_keys_of_some_tasks():
    steps = StepTable(**columns(task_id=["t", "t", "u", "u"], state_keys={"true": [7, 8, 9, 8]}))
    assert steps.take_tasks(np.array([2, 3])).codes_of_key("true").tolist() == [1, 0]
