"""Runs and files of rollouts as sources of batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from view_runs import steps_of, write_run

from hgpo.errors import SettingError
from hgpo.rollout_files import write_rollouts
from hgpo.rollout_files.shown import read_long, read_shown
from hgpo.view.sources import FileSource, RunSource, open_source, runs_in


def dumped(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_run_has_one_batch_per_kept_iteration(tmp_path):
    run = open_source(write_run(tmp_path / "run"), {}, None)
    assert isinstance(run, RunSource)
    assert [batch.iteration for batch in run.batches()] == [1, 2, 3]
    # A sample counts where not all rollouts are kept; the output of another command does not.
    write_rollouts(tmp_path / "run" / "samples" / "000009.parquet", steps_of(9))
    write_rollouts(tmp_path / "run" / "samples" / "scores.parquet", steps_of(9))
    assert [batch.iteration for batch in run.batches()] == [1, 2, 3, 9]
    assert run.task_name("3/train/77") == run.task_name("round 2/3/train/77") == "train/77"


def test_verl_writes_one_row_per_rollout_and_one_file_per_step(tmp_path):
    for step in (5, 10):
        rows = [
            {"input": f"q{number // 2}", "output": f"a{number}", "score": number % 2, "step": step}
            for number in range(4)
        ]
        dumped(tmp_path / "dump" / f"{step}.jsonl", rows)
    rename = {"input": "prompt", "output": "response", "score": "reward"}
    source = open_source(tmp_path / "dump", rename, None)
    assert [batch.iteration for batch in source.batches()] == [5, 10]
    (shown,) = read_shown(source.batches()[1].part, rename)
    # Equal prompts are one task, and every row is a rollout of one step.
    assert shown.steps.task_id.tolist() == ["q0", "q0", "q1", "q1"]
    assert len(set(shown.steps.trajectory_id.tolist())) == 4
    assert shown.steps.step_index.tolist() == [0, 0, 0, 0]
    assert shown.steps.reward.tolist() == [0.0, 1.0, 0.0, 1.0]
    rows = read_long(source.batches()[1].part, rename, shown.rows[2:])
    assert rows == {"prompt": ["q1", "q1"], "response": ["a2", "a3"]}


def test_rows_of_a_rollout_without_numbers_come_in_their_order(tmp_path):
    rows = [{"task_id": "t", "trajectory_id": name, "observation": "o", "reward": 0} for name in "xyxyx"]
    (shown,) = read_shown(FileSource(dumped(tmp_path / "r.jsonl", rows), {}).batches()[0].part, {})
    assert shown.steps.step_index.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_iterations_in_one_file_have_ids_of_their_own(name, tmp_path):
    # The ids recur in both iterations, whose rows alternate.
    steps, rows = steps_of(1), []
    for row in range(len(steps)):
        for iteration in (7, 3):
            columns = ("task_id", "trajectory_id", "step_index", "state_key", "reward", "action")
            rows.append(
                {column: getattr(steps, column)[row] for column in columns} | {"iteration": iteration}
            )
    path = tmp_path / name
    if name.endswith("parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=3)
    else:
        dumped(path, [{key: getattr(v, "item", lambda v=v: v)() for key, v in row.items()} for row in rows])
    source = FileSource(path, {})
    assert [(batch.iteration, batch.column) for batch in source.batches()] == [(3, 3), (7, 7)]
    three, seven = read_shown(source.batches()[0].part, {})
    assert (three.iteration, seven.iteration) == (3, 7)
    assert three.rows.tolist() == list(range(1, 16, 2))
    assert (
        three.steps.trajectory_id.tolist()
        == steps.trajectory_id.tolist()
        == seven.steps.trajectory_id.tolist()
    )


def test_some_rows_of_a_parquet_file_come_from_their_groups(tmp_path):
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    columns = {"task_id": ["t"] * 10, "prompt": [f"p{row}" for row in range(10)], "reward": [0.0] * 10}
    path = tmp_path / "r.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=4)
    (batch,) = FileSource(path, {}).batches()
    assert list(read_long(batch.part, {}, np.array([1, 3, 4, 9]))["prompt"]) == ["p1", "p3", "p4", "p9"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"reward": 1}, "has no column 'task_id'"),
        ({"prompt": "p", "rewards": 1}, "--rename rewards=reward"),
        ({"prompt": "p", "reward": 1, "step_index": 0}, "has no column 'trajectory_id'"),
    ],
)
def test_what_a_file_lacks_is_named(row, words, tmp_path):
    path = dumped(tmp_path / "r.jsonl", [row])
    with pytest.raises(SettingError, match=words):
        read_shown(FileSource(path, {}).batches()[0].part, {})


def test_a_folder_of_runs_is_its_runs(tmp_path):
    one, two = write_run(tmp_path / "runs" / "a"), write_run(tmp_path / "runs" / "b")
    assert runs_in(tmp_path) == runs_in(tmp_path / "runs") == [one, two]
    assert runs_in(one) == [one]
    with pytest.raises(SettingError, match="no file or folder"):
        open_source(tmp_path / "nothing", {}, None)
