"""Where advantages are written, in which format, and that a failed write leaves no partial file."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from rollout_samples import ADVANTAGES, COLUMNS, ROWS, lines, write_parquet

from hgpo import StepTable
from hgpo.cli import main
from hgpo.files import atomic_write
from hgpo.rollout_files import write_rollouts
from hgpo.rollout_files.formats import COMPRESSIONS, read_table

SUFFIXES = [".parquet", ".jsonl", ".ndjson", *(f".jsonl{suffix}" for suffix in COMPRESSIONS), ".parquet.gz"]


@pytest.fixture
def rollouts(tmp_path: Path) -> Path:
    (tmp_path / "r.jsonl").write_text(lines(ROWS))
    return tmp_path / "r.jsonl"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_advantages_in_every_format_that_is_written(suffix: str, rollouts: Path):
    out = rollouts.with_name("new") / "er" / f"a{suffix}"
    assert main(["advantages", str(rollouts), "--out", str(out)]) == 0
    table = read_table(out)
    assert table.names == ("task_id", "trajectory_id", "step_index", "advantage")
    assert list(table.column("trajectory_id")) == COLUMNS["trajectory_id"]
    np.testing.assert_allclose(table.column("advantage"), ADVANTAGES, atol=1e-5)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("r.jsonl.zst", "r.advantages.jsonl.zst"),
        ("r.json", "r.advantages.jsonl"),
        ("r.ndjson", "r.advantages.ndjson"),
        ("parts/r.jsonl", "parts.advantages.jsonl"),
    ],
)
def test_the_default_name_is_of_the_same_format(name: str, out: str, rollouts: Path):
    path = rollouts.with_name("in") / name
    path.parent.mkdir(parents=True)
    path.write_bytes(rollouts.read_bytes())
    source = path if path.parent.name == "in" else path.parent
    assert main(["advantages", str(source)]) == 0
    assert (rollouts.with_name("in") / out).is_file()


def test_the_folder_that_one_is_in(rollouts: Path, monkeypatch: pytest.MonkeyPatch):
    folder = rollouts.with_name("parts")
    folder.mkdir()
    rollouts.rename(folder / "r.jsonl")
    monkeypatch.chdir(folder)
    assert main(["advantages", "."]) == 0
    assert (folder.parent / "parts.advantages.jsonl").is_file()


@pytest.mark.parametrize(
    ("out", "code", "words"),
    [
        ("folder.jsonl", 2, "folder.jsonl is a folder: give the name of a file"),
        ("a.json", 2, "expected a name that ends in .parquet or .jsonl"),
        ("a.arrow", 2, "expected a name that ends in .parquet or .jsonl"),
        ("r.jsonl", 2, "is one of the rollout files themselves"),
        ("link.jsonl", 2, "is one of the rollout files themselves"),
        ("r.jsonl/a.jsonl", 2, "r.jsonl is a file, not a folder"),
        ("file/a.jsonl", 2, "file is a file, not a folder"),
        ("file/b/a.jsonl", 2, "file is a file, not a folder"),
        ("x" * 300 + ".jsonl", 2, "File name too long"),
        ("x" * 249 + ".jsonl", 1, "cannot be written: File name too long; give another --out"),
        ("/proc/a.jsonl", 1, "/proc/a.jsonl cannot be written"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_where_advantages_cannot_go(
    out: str, code: int, words: str, overwrite: bool, rollouts: Path, capsys: pytest.CaptureFixture[str]
):
    folder = rollouts.parent
    (folder / "folder.jsonl").mkdir()
    (folder / "file").write_text("")
    (folder / "link.jsonl").symlink_to("r.jsonl")
    before = sorted(folder.rglob("*"))
    args = ["advantages", str(rollouts), "--out", str(folder / out), *["--overwrite"] * overwrite]
    assert main(args) == code
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    assert rollouts.read_text() == lines(ROWS)


def test_parts_are_not_overwritten(rollouts: Path, capsys: pytest.CaptureFixture[str]):
    folder = str(rollouts.parent)
    for out in ("r.jsonl", "a.jsonl"):
        assert main(["advantages", folder, "--out", f"{folder}/{out}", "--overwrite"]) == 2
        assert "is one of the rollout files themselves" in capsys.readouterr().err
    assert rollouts.read_text() == lines(ROWS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_left_on_a_full_disk(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    # Ids of random digits, which no compression makes smaller than half.
    rng = np.random.default_rng(0)
    names = [rng.bytes(16).hex() for _ in range(4000)]
    rollouts = write_parquet(
        tmp_path / "r.parquet",
        task_id=["t"] * 4000,
        trajectory_id=names,
        step_index=[0] * 4000,
        state_key=["s"] * 4000,
        reward=[0.0] * 4000,
    )
    out = tmp_path / "out" / f"a{suffix}"
    out.parent.mkdir()
    out.write_text("older")
    for size in (0, 10_000, 40_000):
        with files_of_at_most(size):
            code = main(["advantages", str(rollouts), "--out", str(out), "--overwrite"])
        assert code == 1
        assert (
            capsys.readouterr().err == f"hgpo: {out} cannot be written: File too large; give another --out\n"
        )
        assert [path.name for path in out.parent.iterdir()] == [out.name]
        assert out.read_text() == "older"


def test_rollouts_and_texts_are_whole_or_not_there(tmp_path: Path):
    rng = np.random.default_rng(0)
    steps = StepTable(
        task_id=["t"] * 1000,
        trajectory_id=[rng.bytes(16).hex() for _ in range(1000)],
        step_index=[0] * 1000,
        state_key=["s"] * 1000,
        reward=[0.0] * 1000,
    )
    for name in ("r.parquet", "r.jsonl"):
        with files_of_at_most(5_000), pytest.raises(OSError) as error:
            write_rollouts(tmp_path / name, steps)
        assert error.value.errno == errno.EFBIG
    with files_of_at_most(5_000), pytest.raises(OSError):
        atomic_write(tmp_path / "t.txt", "x" * 100_000)
    assert os.listdir(tmp_path) == []


def test_a_writer_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    atomic_write(tmp_path / "t.txt", "older")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hgpo.files.os.replace", stop)
        atomic_write(tmp_path / "t.txt", "newer")
    assert os.listdir(tmp_path) == ["t.txt"] and (tmp_path / "t.txt").read_text() == "older"


def test_a_text_with_a_lone_surrogate_is_written_with_its_escape(tmp_path: Path):
    atomic_write(tmp_path / "t.txt", "ü \ud83d \U0001f600")
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "ü \\ud83d \U0001f600"


def test_ids_that_a_column_of_parquet_cannot_hold(rollouts: Path, capsys: pytest.CaptureFixture[str]):
    for ids, words in (
        ((1, "1"), "task_id holds values of several types (int, str)"),
        ((1, True), "task_id holds values of several types (bool, int)"),
        ((1, 2**70), "task_id holds integers beyond 64 bits"),
    ):
        named = dict(zip(("easy", "hard"), ids, strict=True))
        rollouts.write_text(lines([{**row, "task_id": named[row["task_id"]]} for row in ROWS]))
        out = rollouts.with_name("a.parquet")
        assert main(["advantages", str(rollouts), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert words in error and "a name that ends in .jsonl" in error and error.count("\n") == 1
        assert not list(rollouts.parent.glob("*a.parquet*"))


def test_bytes_as_ids_are_written_as_they_were(tmp_path: Path):
    identifiers = [b"\xff\x00" + bytes([row // 2]) for row in range(8)]
    path = write_parquet(tmp_path / "r.parquet", trajectory_id=identifiers)
    assert main(["advantages", str(path)]) == 0
    written = pyarrow.parquet.read_table(tmp_path / "r.advantages.parquet")
    assert written["trajectory_id"].to_pylist() == identifiers
