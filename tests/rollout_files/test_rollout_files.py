"""Rollouts in files: reading restores what was written, and unreadable files are reported in one line."""

from __future__ import annotations

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from hgpo import HGPO, StepTable
from hgpo.errors import SettingError
from hgpo.rollout_files import read_rollouts, write_rollouts


def full_table(rows: int = 6) -> StepTable:
    """Three trajectories of two steps, every column filled; keys and ids of any kind."""
    rng = np.random.default_rng(0)
    return StepTable(
        task_id=["t"] * rows,
        trajectory_id=[("t", row // 2) for row in range(rows)],
        step_index=[row % 2 for row in range(rows)],
        state_key=[frozenset({row % 3}) for row in range(rows)],
        reward=[row / 3 for row in range(rows)],
        observation=["you see a „mug“"] * rows,
        action=[f"go {row}" for row in range(rows)],
        action_valid=[row != 1 for row in range(rows)],
        terminated=[row % 2 == 1 for row in range(rows)],
        truncated=[False] * rows,
        prompt_tokens=[[1, 2, 3][: row % 4] for row in range(rows)],
        response_tokens=[[7] * (row % 3) for row in range(rows)],
        response_logprobs=[rng.normal(size=row % 3) for row in range(rows)],
        policy_version=[3] * rows,
        value=rng.normal(size=rows),
        entropy=rng.random(rows),
    )


@pytest.mark.parametrize("name", ["rollouts.parquet", "rollouts.jsonl"])
def test_what_is_written_comes_back(name, tmp_path):
    steps = full_table()
    write_rollouts(tmp_path / name, steps, {"commands": [("go", "take")] * 3 + [("go",)] * 3})
    found = read_rollouts(tmp_path / name)
    back = found.steps
    for column in (
        "task_id",
        "step_index",
        "reward",
        "observation",
        "action",
        "action_valid",
        "value",
        "entropy",
    ):
        assert getattr(back, column).tolist() == getattr(steps, column).tolist(), column
    for column in ("terminated", "truncated", "policy_version"):
        assert getattr(back, column).tolist() == getattr(steps, column).tolist(), column
    for column in ("prompt_tokens", "response_tokens", "response_logprobs"):
        assert [row.tolist() for row in getattr(back, column)] == [
            row.tolist() for row in getattr(steps, column)
        ]
    # Keys and ids that are no texts come back as numbers, equal where they were equal.
    assert back.trajectory_code.tolist() == steps.trajectory_code.tolist()
    assert back.state_code.tolist() == steps.state_code.tolist()
    assert found.state_keys["commands"].tolist() == [0, 0, 0, 1, 1, 1]
    assert list(found.state_keys) == ["state_key", "observation", "commands"]
    np.testing.assert_array_equal(HGPO()(back), HGPO()(steps))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_logprobs_lose_no_digit(tmp_path):
    # The first fits into float32, the second does not.
    for value in (0.5, 0.1):
        steps = StepTable(
            task_id=["t"], trajectory_id=["a"], step_index=[0], state_key=["s"], reward=[0.0],
            response_tokens=[[1]], response_logprobs=[[value]],
        )  # fmt: skip
        write_rollouts(tmp_path / "x.parquet", steps)
        logprobs = read_rollouts(tmp_path / "x.parquet").steps.response_logprobs
        assert logprobs is not None and logprobs[0].tolist() == [value]


def test_logprobs_can_be_rounded(tmp_path):
    # To multiples of a quarter: 0.3 → 0.25, −1.4 → −1.5.
    steps = StepTable(
        task_id=["t"], trajectory_id=["a"], step_index=[0], state_key=["s"], reward=[0.0],
        response_tokens=[[1, 2]], response_logprobs=[[0.3, -1.4]],
    )  # fmt: skip
    write_rollouts(tmp_path / "x.parquet", steps, logprob_step=0.25)
    logprobs = read_rollouts(tmp_path / "x.parquet").steps.response_logprobs
    assert logprobs is not None and logprobs[0].tolist() == [0.25, -1.5]


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


ROW = {"task_id": "t", "trajectory_id": "a", "step_index": 0, "state_key": "s", "reward": 1.0}


def test_files_of_other_programs(tmp_path):
    # Another name for a column, a state that is a list, integers for rewards, columns that mean nothing.
    row = {
        "uid": "t",
        "trajectory_id": 4,
        "step_index": 0,
        "state_key": [1, {"b": 2}],
        "reward": 1,
        "x": None,
    }
    (tmp_path / "r.jsonl").write_text(lines(row, row | {"trajectory_id": 5, "state_key": [1, {"b": 3}]}))
    found = read_rollouts(tmp_path / "r.jsonl", {"uid": "task_id"})
    assert found.steps.state_code.tolist() == [0, 1]
    assert found.ignored == ("x",)


def test_without_state_keys_observations_are_compared(tmp_path):
    row = {key: value for key, value in ROW.items() if key != "state_key"}
    (tmp_path / "r.jsonl").write_text(lines(row | {"observation": "hall"}))
    assert read_rollouts(tmp_path / "r.jsonl").steps.state_key.tolist() == ["hall"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.csv", "a,b", "ends in .parquet, .jsonl"),
        ("r.jsonl", "", "holds no steps"),
        ("r.jsonl", lines(ROW) + "{", "line 2: this is not JSON"),
        ("r.jsonl", "[1]", "row 0: expected an object"),
        ("r.jsonl", lines(ROW, ROW | {"value": 1.0}), "1 values of value are missing; fill or drop them"),
        ("r.jsonl", lines({"task_id": "t"}), "no column 'trajectory_id'; it has task_id"),
        ("r.jsonl", lines(ROW, ROW), "step 0 of trajectory 'a' is given twice"),
        ("r.jsonl", lines(ROW | {"reward": "much"}), "row 0: reward is 'much'; give a finite number"),
        ("r.jsonl", b"\xff\xfe\x00", "this is not text in UTF-8, UTF-16 or UTF-32"),
        ("r.parquet", "nonsense", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_cannot_be_read(name, content, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingError, match=r"^[^\n]*$") as error:
        read_rollouts(path)
    assert words in str(error.value)


def test_missing_values_in_parquet_are_counted(tmp_path):
    columns = {name: [value, value] for name, value in ROW.items()} | {"step_index": [0, 1]}
    table = pyarrow.table(columns | {"reward": [1.0, None]})
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    with pytest.raises(SettingError, match="1 values of reward are missing"):
        read_rollouts(tmp_path / "r.parquet")


def test_a_missing_file_and_a_missing_column_to_rename(tmp_path):
    with pytest.raises(SettingError, match="no file"):
        read_rollouts(tmp_path / "r.parquet")
    (tmp_path / "r.jsonl").write_text(lines(ROW))
    with pytest.raises(SettingError, match="no column 'uid' to rename; it has task_id"):
        read_rollouts(tmp_path / "r.jsonl", {"uid": "task_id"})


@pytest.mark.parametrize("name", ["rollouts.parquet", "rollouts.jsonl"])
def test_further_state_keys_go_along(name, tmp_path):
    keys = {"coarse": [("hall", None)] * 3 + [("attic", 1)] * 3, "fine": list("abcabc")}
    columns = {
        column: getattr(full_table(), column)
        for column in ("task_id", "trajectory_id", "step_index", "state_key", "reward", "observation")
    }
    steps = StepTable(**columns, state_keys=keys)
    write_rollouts(tmp_path / name, steps)
    back = read_rollouts(tmp_path / name).steps
    assert list(back.state_keys) == ["observation", "coarse", "fine"]
    for key in keys:
        assert back.codes_of_key(key).tolist() == steps.codes_of_key(key).tolist()
    estimator = HGPO(level_keys=("coarse", "fine"), normalization="mean")
    np.testing.assert_array_equal(estimator(back), estimator(steps))
