"""The same rollouts in every kind of file give the same advantages."""

from __future__ import annotations

import bz2
import datetime
import gzip
import json
import lzma
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from rollout_samples import ADVANTAGES, COLUMNS, ROWS, lines, numbered, with_column, write_parquet

from hgpo import HGPO, StepTable
from hgpo.rollout_files import read_rollouts

TEXT = lines(ROWS)


def require_the_advantages(path: Path, rename: dict[str, str] | None = None) -> None:
    """Those of the rows in a file are, to the last bit, those of the rows as Python holds them."""
    found = HGPO()(read_rollouts(path, rename).steps)
    np.testing.assert_allclose(found, ADVANTAGES, atol=1e-5)
    np.testing.assert_array_equal(found, HGPO()(StepTable.from_rows(ROWS)))


def compressed(codec: str, content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


JSON_KINDS = {
    "byte order mark": ("r.jsonl", "\ufeff" + TEXT),
    "joined files with marks": ("r.jsonl", "\ufeff" + lines(ROWS[:3]) + "\ufeff" + lines(ROWS[3:])),
    "lines of Windows": ("r.jsonl", TEXT.replace("\n", "\r\n")),
    "lines of old Macs": ("r.jsonl", TEXT.replace("\n", "\r")),
    "UTF-16 with mark": ("r.jsonl", TEXT.encode("utf-16")),
    "UTF-16, big-endian": ("r.jsonl", TEXT.encode("utf-16-be")),
    "UTF-32": ("r.jsonl", TEXT.encode("utf-32")),
    "empty lines": ("r.jsonl", "\n" + TEXT.replace("\n", "\n\n").rstrip("\n")),
    "another suffix": ("r.ndjson", TEXT),
    "capital letters": ("R.JSONL", TEXT),
    "lines in .json": ("r.json", TEXT),
    "objects over several lines": ("r.json", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
    "array": ("r.json", json.dumps(ROWS)),
    "array over several lines": ("r.json", json.dumps(ROWS, indent=2)),
    "object of columns": ("r.json", json.dumps(COLUMNS)),
    "columns by index": (
        "r.json",
        json.dumps({name: dict(enumerate(values)) for name, values in COLUMNS.items()}),
    ),
    "gzip": ("r.jsonl.gz", gzip.compress(TEXT.encode())),
    "bzip2": ("r.jsonl.bz2", bz2.compress(TEXT.encode())),
    "xz": ("r.jsonl.xz", lzma.compress(TEXT.encode())),
    "zstd": ("r.jsonl.zst", compressed("zstd", TEXT.encode())),
    "lz4": ("r.jsonl.lz4", compressed("lz4", TEXT.encode())),
    "gzip of UTF-16": ("r.jsonl.gz", gzip.compress(TEXT.encode("utf-16"))),
    "two gzip files joined": (
        "r.jsonl.gz",
        gzip.compress(lines(ROWS[:3]).encode()) + gzip.compress(lines(ROWS[3:]).encode()),
    ),
    "compressed, whatever its name": ("r.jsonl", compressed("zstd", TEXT.encode())),
    "not compressed, whatever its name": ("r.jsonl.gz", TEXT),
    "further fields in some lines": ("r.jsonl", lines([ROWS[0] | {"note": 1}, *ROWS[1:]])),
}


@pytest.mark.parametrize("kind", JSON_KINDS)
def test_json(kind: str, tmp_path: Path):
    name, content = JSON_KINDS[kind]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    require_the_advantages(tmp_path / name)


def test_parquet_and_arrow_files(tmp_path: Path):
    table = pyarrow.table(COLUMNS)
    for codec in ("none", "snappy", "gzip", "zstd"):
        pyarrow.parquet.write_table(
            table, tmp_path / f"r.{codec}.parquet", compression=codec, row_group_size=3
        )
        require_the_advantages(tmp_path / f"r.{codec}.parquet")
    plain = (tmp_path / "r.none.parquet").read_bytes()
    (tmp_path / "r.parquet.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "misnamed.jsonl").write_bytes(plain)
    with pyarrow.ipc.new_file(str(tmp_path / "file.feather"), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    with pyarrow.ipc.new_stream(str(tmp_path / "stream.arrow"), table.schema) as writer:
        writer.write_table(table)
    for name in ("r.parquet.gz", "misnamed.jsonl", "file.feather", "stream.arrow"):
        require_the_advantages(tmp_path / name)


TASKS, TRAJECTORIES, STATES = (numbered(name) for name in ("task_id", "trajectory_id", "state_key"))
SECOND = 10**9


def array(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    return pyarrow.array(values, kind)


def times(values: list[int], unit: str, zone: str | None) -> pyarrow.Array:
    seconds = array([1_700_000_000 + value for value in values], pyarrow.int64())
    return seconds.cast(pyarrow.timestamp("s", zone)).cast(pyarrow.timestamp(unit, zone))


TYPES: dict[str, dict[str, Any]] = {
    "large texts": {"task_id": array(COLUMNS["task_id"], pyarrow.large_string())},
    "text views": {"state_key": array(COLUMNS["state_key"], pyarrow.string_view())},
    "dictionaries": {
        name: pyarrow.array(COLUMNS[name]).dictionary_encode() for name in ("task_id", "trajectory_id")
    },
    "bytes that are text": {"state_key": array([s.encode() for s in COLUMNS["state_key"]], pyarrow.binary())},
    "bytes that are not": {"trajectory_id": [b"\xff" + bytes([number]) for number in TRAJECTORIES]},
    "texts that are not UTF-8": {
        "state_key": pyarrow.Array.from_buffers(
            pyarrow.string(),
            len(ROWS),
            [
                None,
                pyarrow.py_buffer(np.arange(0, 4 * len(ROWS) + 1, 4, dtype=np.int32)),
                pyarrow.py_buffer(b"".join(b"\xed\xa0\xbd%d" % number for number in STATES)),
            ],
        )
    },
    "integers of 8 bits": {"step_index": array(COLUMNS["step_index"], pyarrow.uint8())},
    "integers of 64 bits": {
        "trajectory_id": array([2**64 - 1 - number for number in TRAJECTORIES], pyarrow.uint64())
    },
    "floats": {
        "task_id": array([float(number) for number in TASKS], pyarrow.float64()),
        "step_index": array([float(step) for step in COLUMNS["step_index"]], pyarrow.float32()),
        "reward": array(list(np.array(COLUMNS["reward"], np.float16)), pyarrow.float16()),
    },
    "decimals": {
        "task_id": [Decimal(number) for number in TASKS],
        "trajectory_id": [Decimal(f"{10**30 + number}.50") for number in TRAJECTORIES],
        "step_index": [Decimal(step) for step in COLUMNS["step_index"]],
        "reward": [Decimal(str(reward)) for reward in COLUMNS["reward"]],
    },
    **{
        f"times in {unit}, zone {zone}": {
            "trajectory_id": times(TRAJECTORIES, unit, zone),
            "state_key": times(STATES, unit, zone),
        }
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin")
    },
    "single nanoseconds": {
        "state_key": array([SECOND + number for number in STATES], pyarrow.timestamp("ns")),
        "trajectory_id": array([[number] for number in TRAJECTORIES], pyarrow.list_(pyarrow.timestamp("ns"))),
    },
    "dates": {"state_key": [datetime.date(2026, 1, 1 + number) for number in STATES]},
    "times of day": {"state_key": array(STATES, pyarrow.time64("ns"))},
    "durations": {"state_key": array(STATES, pyarrow.duration("us"))},
    "lists": {"state_key": [[number, 7] for number in STATES]},
    "lists of one": {"task_id": [[task] for task in COLUMNS["task_id"]]},
    "lists of one length": {
        "state_key": array([[number, 0.5] for number in STATES], pyarrow.list_(pyarrow.float32(), 2))
    },
    "objects": {"state_key": [{"room": {"number": [number]}} for number in STATES]},
    "maps in any order": {
        "state_key": array(
            [[("a", 1), ("b", number)][:: 1 if row % 2 else -1] for row, number in enumerate(STATES)],
            pyarrow.map_(pyarrow.string(), pyarrow.int64()),
        )
    },
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_arrow(kind: str, tmp_path: Path):
    require_the_advantages(write_parquet(tmp_path / "r.parquet", **TYPES[kind]))


def test_times_as_old_programs_write_them(tmp_path: Path):
    table = pyarrow.table({**COLUMNS, "trajectory_id": array(TRAJECTORIES, pyarrow.timestamp("ns"))})
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet", use_deprecated_int96_timestamps=True)
    require_the_advantages(tmp_path / "r.parquet")


def test_identifiers_that_have_a_type_of_their_own(tmp_path: Path):
    identifiers = array([number.to_bytes(16, "big") for number in TRAJECTORIES], pyarrow.binary(16))
    require_the_advantages(
        write_parquet(tmp_path / "r.parquet", trajectory_id=identifiers.cast(pyarrow.uuid()))
    )


def test_truth_values_may_be_numbers_or_texts(tmp_path: Path):
    valid = [row["step_index"] == 1 for row in ROWS]
    for values in (valid, [int(v) for v in valid], [float(v) for v in valid], [str(v) for v in valid]):
        (tmp_path / "r.jsonl").write_text(with_column("action_valid", values))
        for path in (
            tmp_path / "r.jsonl",
            write_parquet(tmp_path / "r.parquet", action_valid=pyarrow.array(values)),
        ):
            steps = read_rollouts(path).steps
            assert steps.action_valid is not None and steps.action_valid.tolist() == valid


def test_numbers_may_be_texts(tmp_path: Path):
    for name in ("step_index", "reward"):
        (tmp_path / "r.jsonl").write_text(with_column(name, [str(value) for value in COLUMNS[name]]))
        require_the_advantages(tmp_path / "r.jsonl")


def write_parts(folder: Path, suffix: str) -> None:
    folder.mkdir(parents=True)
    for number in range(3):
        part = ROWS[3 * number : 3 * number + 3]
        name = folder / f"part-0000{number}-c000{suffix}"
        if suffix.endswith(".parquet"):
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(part), name)
        else:
            name.write_bytes(gzip.compress(lines(part).encode()) if ".gz" in suffix else lines(part).encode())
    # What else may lie there, by Spark or by a writer that was stopped.
    for name in ("_SUCCESS", f"_part{suffix}", f".part{suffix}", "part.crc", "README.md"):
        (folder / name).write_text("nonsense")


@pytest.mark.parametrize("suffix", [".snappy.parquet", ".jsonl", ".json", ".json.gz"])
def test_a_folder_of_parts(suffix: str, tmp_path: Path):
    write_parts(tmp_path / "parts", suffix)
    require_the_advantages(tmp_path / "parts")


def test_an_empty_part_of_a_folder_counts_for_nothing(tmp_path: Path):
    write_parts(tmp_path / "parts", ".jsonl")
    (tmp_path / "parts" / "part-00009.jsonl").write_text("")
    require_the_advantages(tmp_path / "parts")


def test_columns_in_the_names_of_folders(tmp_path: Path):
    # As Hive has it: the task is not in the files; %2F is a slash.
    for task in ("easy", "hard"):
        folder = tmp_path / "parts" / "date=2026-01-01" / f"task_id=a%2F{task}"
        folder.mkdir(parents=True)
        rows = [{k: v for k, v in row.items() if k != "task_id"} for row in ROWS if row["task_id"] == task]
        (folder / "0.jsonl").write_text(lines(rows))
    require_the_advantages(tmp_path / "parts")
    found = read_rollouts(tmp_path / "parts")
    assert found.steps.task_id.tolist() == ["a/easy"] * 4 + ["a/hard"] * 4
    assert found.ignored == ("date",)


def test_parts_may_keep_times_and_integers_in_different_widths(tmp_path: Path):
    # Floats, which numpy makes of signed and unsigned integers together, do not tell 2⁶⁰ from 2⁶⁰ + 1.
    ids = [2**60 + number for number in TRAJECTORIES]
    for name, unit, kind, start, stop in (
        ("a", "s", pyarrow.int64(), 0, 3),
        ("b", "ns", pyarrow.uint64(), 3, 8),
    ):
        columns = {**COLUMNS, "state_key": times(STATES, unit, None), "trajectory_id": array(ids, kind)}
        part = pyarrow.table(columns).slice(start, stop - start)
        pyarrow.parquet.write_table(part, tmp_path / f"{name}.parquet")
    require_the_advantages(tmp_path)
