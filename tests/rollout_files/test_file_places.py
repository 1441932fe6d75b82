"""Paths, names and contents that cannot be read are reported in one line, with a suggestion."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shlex
from pathlib import Path

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from rollout_samples import COLUMNS, ROWS, lines, write_parquet

from hgpo.cli import main
from hgpo.errors import SettingError
from hgpo.rollout_files import read_rollouts

TEXT = lines(ROWS)


def message(path: Path | str, rename: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingError, match=r"^[^\n]*$") as error:
        read_rollouts(path, rename)
    return str(error.value)


def renamed(**names: str) -> str:
    return lines([{names.get(name, name): value for name, value in row.items()} for row in ROWS])


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("rolouts.jsonl", "did you mean {}/rollouts.jsonl?"),
        ("rollouts", "did you mean {}/rollouts.jsonl?"),
        ("Rollouts.JSONL", "did you mean {}/rollouts.jsonl?"),
        ("something.jsonl", "no file or folder {}/something.jsonl"),
        ("partz", "did you mean {}/parts?"),
        ("prats/0.jsonl", "there is no folder {0}/prats; did you mean {0}/parts?"),
        ("rollouts.jsonl/0.jsonl", "{0}/rollouts.jsonl is a file, not a folder"),
        ("link.jsonl", "is a link to nowhere.jsonl, which does not exist"),
        ("circle.jsonl", "circle.jsonl cannot be read"),
        ("x" * 300 + ".jsonl", "cannot be read: File name too long"),
        ("pipe.jsonl", "is a pipe or a device: write the rollouts to a file first"),
        ("/dev/null", "is a pipe or a device: write the rollouts to a file first"),
    ],
)
def test_a_path_that_is_no_file(typed: str, words: str, tmp_path: Path):
    (tmp_path / "rollouts.jsonl").write_text(TEXT)
    (tmp_path / "parts").mkdir()
    (tmp_path / "prats.txt").write_text("")
    (tmp_path / "link.jsonl").symlink_to("nowhere.jsonl")
    (tmp_path / "circle.jsonl").symlink_to("circle.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    found = message(tmp_path / typed)
    assert words.format(tmp_path) in found
    assert "something" not in typed or "did you mean" not in found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("r.csv", "from pyarrow import csv, parquet"),
        ("r.csv.gz", "from pyarrow import csv, parquet"),
        ("r.zip", "unpack it first"),
        ("r.tar.gz", "unpack it first"),
        ("r.txt", "expected a name that ends in .parquet, .jsonl, .ndjson, .json"),
        ("r", "expected a name that ends in .parquet, .jsonl, .ndjson, .json"),
        ("r.gz", "expected a name that ends in .parquet, .jsonl, .ndjson, .json"),
    ],
)
def test_a_file_of_another_kind(name: str, words: str, tmp_path: Path):
    (tmp_path / name).write_text(TEXT)
    assert words in message(tmp_path / name)


def test_the_advice_for_csv_works(tmp_path: Path):
    path = tmp_path / "r.csv"
    rows = [",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]
    path.write_text("\n".join(rows))
    command = shlex.split(message(path).rpartition("convert it: ")[2])
    assert command[:2] == ["python", "-c"]
    exec(command[2], {})
    assert read_rollouts(tmp_path / "r.csv.parquet").steps.reward.tolist() == COLUMNS["reward"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.jsonl", ""),
        ("r.jsonl", "\ufeff \n\n"),
        ("r.jsonl.gz", ""),
        ("r.json", "[]"),
        ("r.json", "{}"),
        ("r.json", json.dumps({name: [] for name in COLUMNS})),
    ],
)
def test_a_file_without_rows(name: str, content: str, tmp_path: Path):
    (tmp_path / name).write_text(content)
    assert message(tmp_path / name) == f"{tmp_path / name} holds no steps"


def test_a_parquet_file_of_nothing_but_its_header(tmp_path: Path):
    pyarrow.parquet.write_table(pyarrow.table(COLUMNS).slice(0, 0), tmp_path / "r.parquet")
    assert message(tmp_path / "r.parquet").endswith("holds no steps")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("task_id,reward", "line 1: this is not JSON"),
        (TEXT + '{"task_id": "ea', "line 9: this is not JSON"),
        (TEXT[:100] + "\0" + TEXT[101:], "this is not JSON"),
        ("1", "row 0: expected an object, one per step; found 1"),
        ("[[1]]", "row 0: expected an object, one per step; found [1]"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "has 'c' twice"),
        (json.dumps({**COLUMNS, "reward": [1.0]}), "column 'reward' has 1 rows but 'task_id' has 8"),
        (TEXT.replace("easy", "é").encode("latin-1"), "this is not text in UTF-8"),
        ('{"task_id": ' + "9" * 5000 + "}", "Exceeds the limit"),
    ],
    ids=range(10),
)
def test_json_that_cannot_be_read(content: str | bytes, words: str, tmp_path: Path):
    (tmp_path / "r.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in message(tmp_path / "r.jsonl")


def contents() -> dict[str, bytes]:
    """A file of each kind that tells where it ends."""
    table = pyarrow.table(COLUMNS)
    parquet, arrow, stream, zstd = (pyarrow.BufferOutputStream() for _ in range(4))
    pyarrow.parquet.write_table(table, parquet)
    with pyarrow.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    with pyarrow.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    with pyarrow.CompressedOutputStream(zstd, "zstd") as file:
        file.write(TEXT.encode())
    return {
        "r.parquet": parquet.getvalue().to_pybytes(),
        "r.arrow": arrow.getvalue().to_pybytes(),
        "s.arrow": stream.getvalue().to_pybytes(),
        "r.jsonl.gz": gzip.compress(TEXT.encode()),
        "r.jsonl.bz2": bz2.compress(TEXT.encode()),
        "r.jsonl.xz": lzma.compress(TEXT.encode()),
        "r.jsonl.zst": zstd.getvalue().to_pybytes(),
    }


@pytest.mark.parametrize("name", list(contents()))
def test_a_file_that_is_cut_off(name: str, tmp_path: Path):
    whole = contents()[name]
    for length in range(6, len(whole) - 8, len(whole) // 20):
        (tmp_path / name).write_bytes(whole[:length])
        assert "cannot be read as" in message(tmp_path / name)


def test_an_arrow_file_whose_numbers_point_beyond_its_end(tmp_path: Path):
    # The dictionary has one text, the second row asks for the eighth.
    beyond = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 7] * 4), pyarrow.array(["a"]), safe=False)
    table = pyarrow.table({**COLUMNS, "state_key": beyond})
    with pyarrow.ipc.new_file(str(tmp_path / "r.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert "cannot be read as Arrow" in message(tmp_path / "r.arrow")


def test_a_file_that_asks_for_more_memory_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def read(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("hgpo.rollout_files.arrow.read_parquet", read)
    assert "needs more memory than there is" in message(write_parquet(tmp_path / "r.parquet"))


def test_two_columns_of_one_name(tmp_path: Path):
    table = pyarrow.table([*COLUMNS.values(), COLUMNS["task_id"]], names=[*COLUMNS, "task_id"])
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    assert "two columns are called 'task_id'" in message(tmp_path / "r.parquet")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("taskid", "task_id"),
        ("Task ID", "task_id"),
        ("traj_id", "trajectory_id"),
        ("step", "step_index"),
        ("state", "state_key"),
        ("rewards", "reward"),
    ],
)
def test_a_column_by_a_similar_name(theirs: str, ours: str, tmp_path: Path):
    (tmp_path / "r.jsonl").write_text(renamed(**{ours: theirs}))
    found = message(tmp_path / "r.jsonl")
    assert f"has no column {ours!r}" in found
    # The advice, as a shell takes it.
    assert shlex.split(found.rpartition(" is this column: ")[2]) == ["--rename", f"{theirs}={ours}"]
    assert len(read_rollouts(tmp_path / "r.jsonl", {theirs: ours}).steps) == 8


def test_renamings_that_cannot_be(tmp_path: Path):
    (tmp_path / "r.jsonl").write_text(renamed(task_id="uid"))
    path = tmp_path / "r.jsonl"
    assert "Did you mean --rename uid=task_id?" in message(path, {"uuid": "task_id"})
    assert (
        "'uid' cannot be renamed to 'taskid', which is not a column that is read; did you mean task_id?"
        in message(path, {"uid": "taskid"})
    )
    assert "two columns cannot both be renamed to 'task_id'" in message(
        path, {"uid": "task_id", "reward": "task_id"}
    )


def test_a_renamed_column_takes_the_place_of_another(tmp_path: Path):
    (tmp_path / "r.jsonl").write_text(lines([{**row, "uid": row["task_id"], "task_id": 0} for row in ROWS]))
    found = read_rollouts(tmp_path / "r.jsonl", {"uid": "task_id"})
    assert found.steps.task_id.tolist() == COLUMNS["task_id"]
    assert found.ignored == ("task_id",)


def test_interchanged_ids_are_noticed(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    path.write_text(renamed(task_id="trajectory_id", trajectory_id="task_id"))
    found = message(path)
    assert "seem to be interchanged: --rename task_id=trajectory_id trajectory_id=task_id" in found
    steps = read_rollouts(path, {"task_id": "trajectory_id", "trajectory_id": "task_id"}).steps
    assert steps.task_id.tolist() == COLUMNS["task_id"]
    # Also where the names are the user's own.
    path.write_text(renamed(task_id="a", trajectory_id="b"))
    assert "--rename b=trajectory_id a=task_id" in message(path, {"b": "task_id", "a": "trajectory_id"})
    # Ids that start again with each task are another fault.
    path.write_text(lines([{**row, "trajectory_id": row["trajectory_id"][-1]} for row in ROWS]))
    assert "a trajectory belongs to one task" in message(path) and "seem to be" not in message(path)


def write_folder(folder: Path, **contents: str) -> Path:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def test_folders_that_are_not_rollouts(tmp_path: Path):
    assert "has no file whose name ends in .parquet" in message(write_folder(tmp_path / "empty", r_txt=""))
    (tmp_path / "empty" / "inner").mkdir()
    assert message(tmp_path / "empty").endswith("; it has the folders inner")
    both = write_folder(tmp_path / "both", a_jsonl=TEXT)
    write_parquet(both / "b.parquet")
    assert "has files in several formats, a.jsonl and b.parquet" in message(both)
    run = write_folder(tmp_path / "run", config_json="{}", metrics_jsonl="")
    assert f"is the folder of a run: give one of the files in {run}/rollouts" in message(run)


def test_parts_that_do_not_belong_together(tmp_path: Path):
    half, other = lines(ROWS[:4]), ROWS[4:]
    more = write_folder(
        tmp_path / "more", a_jsonl=half, b_jsonl=lines([row | {"value": 1.0} for row in other])
    )
    assert "a.jsonl has no column 'value'" in message(more) and "(b.jsonl has it)" in message(more)
    types = write_folder(
        tmp_path / "types",
        a_jsonl=lines([row | {"state_key": 1} for row in ROWS[:4]]),
        b_jsonl=lines([row | {"state_key": 1.0} for row in other]),
    )
    assert "state_key is of type int in" in message(types) and "but of type float in" in message(types)
    again = write_folder(tmp_path / "again", a_jsonl=TEXT, b_jsonl=TEXT)
    assert "is given twice" in message(again) and "give one part" in message(again)
    broken = write_folder(tmp_path / "broken", a_jsonl=TEXT, b_jsonl="{")
    assert f"{broken}/b.jsonl cannot be read as JSON" in message(broken)


@pytest.mark.parametrize("command", ["advantages", "diagnose", "compare-estimators"])
def test_every_command_ends_in_one_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "r.jsonl").write_text(TEXT.replace('"easy"', "null"))
    write_folder(tmp_path / "empty")
    for path, words in (
        ("r.jsonl", "4 values of task_id are missing; fill or drop them"),
        ("rr.jsonl", "did you mean"),
        ("empty", "has no file"),
        ("x" * 300, "File name too long"),
        ("two\nlines.jsonl", "no file or folder"),
    ):
        assert main([command, str(tmp_path / path)]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("hgpo: ") and shown.err.count("\n") == 1 and words in shown.err


def test_names_that_are_not_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / os.fsdecode(b"\xff.jsonl")
    path.write_text(lines([{**row, "\ud83d": 1} for row in ROWS]))
    assert main(["advantages", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "\\udcff.jsonl" in shown and "not read: \\ud83d" in shown
    assert path.with_name(os.fsdecode(b"\xff.advantages.jsonl")).exists()


def test_a_column_that_is_not_read_but_may_have_been_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "r.jsonl").write_text(lines([{**row, "action_vaild": True, "note": 1} for row in ROWS]))
    assert main(["diagnose", str(tmp_path / "r.jsonl")]) == 0
    expected = "not read: action_vaild (for action_valid: --rename action_vaild=action_valid), note"
    assert expected in capsys.readouterr().out
