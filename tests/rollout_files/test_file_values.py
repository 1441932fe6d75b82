"""What counts as missing, as the same, and as a number in files; and texts that UTF-8 cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from rollout_samples import COLUMNS, ROWS, lines, with_column, write_parquet

from hgpo import StepTable
from hgpo.errors import SettingError
from hgpo.rollout_files import read_rollouts, write_rollouts

KEYS = ("task_id", "trajectory_id", "state_key", "observation", "action", "state_key_other")
NAN = float("nan")


def values_of(name: str) -> list[Any]:
    return COLUMNS.get(name, ["go"] * len(ROWS))


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("value", [None, NAN, [1, [NAN]], {"room": NAN}], ids=str)
def test_missing_ids_and_keys_in_json(name: str, value: Any, tmp_path: Path):
    # In every second of the eight rows, from the second on.
    values = [value if row % 2 else given for row, given in enumerate(values_of(name))]
    for path, content in (
        (tmp_path / "lines.jsonl", with_column(name, values)),
        (tmp_path / "columns.json", json.dumps({**COLUMNS, name: values})),
    ):
        path.write_text(content)
        with pytest.raises(SettingError) as error:
            read_rollouts(path)
        assert f"{path}: 4 values of {name} are missing; fill or drop them (first in row 1: " in str(
            error.value
        )


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize(
    "values",
    [
        [None] * 8,
        pyarrow.array([None] + ["a"] * 7).dictionary_encode(),
        pyarrow.array([NAN] + [1.0] * 7),
        pyarrow.array(np.array([np.nan] + [1.0] * 7, np.float16)),
        pyarrow.array([None] + [1] * 7, pyarrow.timestamp("us")),
        [[1.0, NAN]] + [[1.0, 2.0]] * 7,
        [{"room": NAN}] + [{"room": 1.0}] * 7,
    ],
    ids=["all", "dictionary", "NaN", "NaN of 16 bits", "time", "in a list", "in an object"],
)
def test_missing_ids_and_keys_in_parquet(name: str, values: Any, tmp_path: Path):
    path = write_parquet(tmp_path / "r.parquet", **{name: values})
    with pytest.raises(
        SettingError, match=rf"[18] values of {name} are missing; fill or drop them \(first in row 0"
    ):
        read_rollouts(path)


@pytest.mark.parametrize(
    ("nothing", "mug"), [({"holding": None}, {"holding": "mug"}), (["hall", None], ["hall", "mug"])]
)
def test_null_within_a_state_is_a_value(nothing: Any, mug: Any, tmp_path: Path):
    # Every second of the eight rows is in the state in which nothing is held.
    values = [mug if row % 2 else nothing for row in range(len(ROWS))]
    (tmp_path / "r.jsonl").write_text(with_column("state_key", values))
    write_parquet(tmp_path / "r.parquet", state_key=values)
    for name in ("r.jsonl", "r.parquet"):
        assert read_rollouts(tmp_path / name).steps.state_code.tolist() == [0, 1] * 4


def test_a_field_that_some_lines_lack_is_missing_there(tmp_path: Path):
    (tmp_path / "r.jsonl").write_text(
        lines([*ROWS[:5], {k: v for k, v in ROWS[5].items() if k != "task_id"}, *ROWS[6:]])
    )
    with pytest.raises(SettingError, match=r"1 values of task_id are missing; .* row 5"):
        read_rollouts(tmp_path / "r.jsonl")


def test_a_folder_name_without_a_value_is_missing(tmp_path: Path):
    folder = tmp_path / "state_key=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir()
    (folder / "r.jsonl").write_text(
        lines([{k: v for k, v in row.items() if k != "state_key"} for row in ROWS])
    )
    with pytest.raises(SettingError, match="8 values of state_key are missing"):
        read_rollouts(tmp_path)


def one_step_each(keys: list[Any]) -> str:
    """As many trajectories of one step as there are state keys."""
    return lines(
        [
            {"task_id": "t", "trajectory_id": str(row), "step_index": 0, "state_key": key, "reward": 0.0}
            for row, key in enumerate(keys)
        ]
    )


def test_values_of_different_types_are_different_keys(tmp_path: Path):
    # A list makes the column one of JSON texts; then, too, no two of these are the same.
    keys = [1, 1.0, True, "1", "true", [1], [1.0], [True], ["1"], "[1]", {"a": 1}, '{"a": 1}', "1.0"]
    (tmp_path / "r.jsonl").write_text(one_step_each(keys))
    assert read_rollouts(tmp_path / "r.jsonl").steps.state_code.tolist() == list(range(len(keys)))
    (tmp_path / "s.jsonl").write_text(one_step_each([1, 1.0, True, "1"]))
    found = read_rollouts(tmp_path / "s.jsonl").steps.state_key.tolist()
    assert [type(key) for key in found] == [int, float, bool, str]


def test_equal_numbers_and_objects_are_one_key(tmp_path: Path):
    keys = [[0.0, 1], [-0.0, 1], {"a": 1, "b": 2}, {"b": 2, "a": 1}]
    (tmp_path / "r.jsonl").write_text(one_step_each(keys))
    assert read_rollouts(tmp_path / "r.jsonl").steps.state_code.tolist() == [0, 0, 1, 1]


def test_long_decimals_are_not_rounded(tmp_path: Path):
    # 38 digits that differ in the last.
    numbers = [f"{'1' * 36}.{digits}" for digits in ("25", "26")] * 4
    decimals = pyarrow.array(numbers).cast(pyarrow.decimal128(38, 2))
    path = write_parquet(tmp_path / "r.parquet", state_key=decimals)
    assert read_rollouts(path).steps.state_key.tolist() == numbers


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("step_index", 0.5, "row 1: step_index is 0.5; give an integer"),
        ("step_index", "one", "row 1: step_index is 'one'; give an integer"),
        ("step_index", NAN, "row 1: step_index is nan; give an integer"),
        ("step_index", [1], "row 1: step_index is [1]; give one value, not a list"),
        ("reward", [1.0], "row 1: reward is [1.0]; give one value, not a list"),
        ("reward", "1_0", "row 1: reward is '1_0'; give a finite number"),
        ("reward", "nan", "row 1: reward is 'nan'; give a finite number"),
        ("reward", None, "1 values of reward are missing"),
        ("action_valid", 2, "row 1: action_valid is 2; give True or False"),
        ("action_valid", "yes", "row 1: action_valid is 'yes'; give True or False"),
        ("prompt_tokens", None, "1 values of prompt_tokens are missing"),
        ("prompt_tokens", [1, None], "row 1: prompt_tokens is [1, None]; give a flat list"),
    ],
)
def test_a_value_that_cannot_be_converted_is_named(name: str, value: Any, words: str, tmp_path: Path):
    defaults: dict[str, list[Any]] = {"action_valid": [True] * 8, "prompt_tokens": [[1]] * 8}
    values = list(COLUMNS[name] if name in COLUMNS else defaults[name])
    values[1] = value
    (tmp_path / "r.jsonl").write_text(with_column(name, values))
    with pytest.raises(SettingError) as error:
        read_rollouts(tmp_path / "r.jsonl")
    assert words in str(error.value)


def test_a_token_without_a_value_is_named(tmp_path: Path):
    for name, values in (("response_tokens", [1, None]), ("response_logprobs", [-0.5, None])):
        path = write_parquet(tmp_path / "r.parquet", **{name: [values] * 8})
        with pytest.raises(SettingError, match=rf"row 0: {name} is \[.*, None\]; give a flat list"):
            read_rollouts(path)


def test_columns_of_lists_of_one_number_are_refused(tmp_path: Path):
    for name in ("step_index", "reward"):
        path = write_parquet(tmp_path / "r.parquet", **{name: [[value] for value in COLUMNS[name]]})
        with pytest.raises(SettingError, match=f"row 0: {name} is .*; give one value, not a list"):
            read_rollouts(path)


SURROGATES = ["half of an emoji \ud83d", "the other half \ude00", "both \U0001f600", "\udcff", "ü"]


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet", "r.jsonl.zst"])
def test_lone_surrogates_come_back(name: str, tmp_path: Path):
    steps = StepTable(
        task_id=["t\ud83d"] * 5,
        trajectory_id=[f"{row}\ude00" for row in range(5)],
        step_index=[0] * 5,
        state_key=SURROGATES,
        reward=[0.0] * 5,
        observation=SURROGATES,
        action=SURROGATES[::-1],
    )
    write_rollouts(tmp_path / name, steps)
    back = read_rollouts(tmp_path / name).steps
    for column in ("task_id", "trajectory_id", "state_key", "observation", "action"):
        assert getattr(back, column).tolist() == getattr(steps, column).tolist()


def test_json_holds_lone_surrogates_as_escapes(tmp_path: Path):
    # As they are written by Python, and as raw bytes.
    row = {"task_id": "\ud83d", "trajectory_id": "ü", "step_index": 0, "state_key": "s", "reward": 0.0}
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    (tmp_path / "raw.jsonl").write_bytes(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    for name in ("r.jsonl", "raw.jsonl"):
        steps = read_rollouts(tmp_path / name).steps
        write_rollouts(tmp_path / "out.jsonl", steps)
        written = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
        assert written.startswith('{"task_id": "\\ud83d", "trajectory_id": "ü"')


def test_what_no_column_of_parquet_holds_is_written_as_numbers(tmp_path: Path):
    steps = StepTable(
        task_id=[2**70, 2**70, 3],
        trajectory_id=[1, "1", 2],
        step_index=[0] * 3,
        state_key=[0.5, 1.5, 0.5],
        reward=[0.0] * 3,
        observation=[("a", 1), ("b", 2), ("a", 1)],
    )
    write_rollouts(tmp_path / "r.parquet", steps)
    back = read_rollouts(tmp_path / "r.parquet").steps
    assert back.task_id.tolist() == [0, 0, 1]
    assert back.trajectory_id.tolist() == [0, 1, 2]
    assert back.state_key.tolist() == [0, 1, 0]
    assert back.observation is not None and back.observation.tolist() == [0, 1, 0]
