"""Output that nobody reads, that does not fit on the disk, or that is closed: an exit code, and no traceback."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from started import started
from toy_runs import command

from hgpo.cli.standard_streams import GuardedStream, ReaderGone, guarded_streams

FULL = Path("/dev/full")
COMMANDS = [
    ["--help"],
    ["--version"],
    ["verl", "preset", "stepwise"],
    ["env", "solve", "household", "--tasks", "2"],
]


def hgpo(args: list[str], stdout) -> subprocess.CompletedProcess:
    # With a buffer, as outside of containers: what is left in it is written when the interpreter ends.
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "hgpo", *args]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_ends_a_command_as_sigpipe_would(args):
    reading, writing = os.pipe()
    os.close(reading)
    done = hgpo(args, writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_output_that_does_not_fit_is_an_error_of_one_line(args):
    with FULL.open("w") as full:
        done = hgpo(args, full)
    assert done.returncode == 1
    assert done.stderr == "hgpo: standard output cannot be written: No space left on device\n"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_the_exit_code_of_what_failed_anyway_stays():
    with FULL.open("w") as full:
        # Without a command the help is printed.
        assert hgpo([], full).returncode == 2
        done = subprocess.run([sys.executable, "-m", "hgpo", "nonsense"], stderr=full, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize("args", [["--help"], ["env", "solve", "household", "--tasks", "2"]], ids=" ".join)
def test_streams_that_are_closed_lead_nowhere(args, tmp_path):
    # A file that the command opens must not be taken for its output.
    program = (
        "import sys; from hgpo.cli import main; code = main(sys.argv[1:]); "
        "file = open('kept.txt', 'w'); print('words'); file.close(); raise SystemExit(code)"
    )
    words = [sys.executable, "-c", program, *args]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "kept.txt").read_text() == ""


class Failing(io.StringIO):
    """Takes two texts, then fails."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.taken = number, []

    def write(self, text: str) -> int:
        if len(self.taken) == 2:
            raise OSError(self.number, os.strerror(self.number))
        self.taken.append(text)
        return len(text)


def test_a_stream_that_is_full_is_dropped_and_the_work_goes_on():
    inner = Failing(errno.ENOSPC)
    stream = GuardedStream(inner, stops=True)
    for word in ("one", "two", "three", "four"):
        assert stream.write(word) == len(word)
    stream.flush()
    assert inner.taken == ["one", "two"]
    assert stream.error is not None and stream.error.errno == errno.ENOSPC


def test_a_reader_that_has_gone_interrupts_once_and_in_the_main_thread_only():
    stream = GuardedStream(Failing(errno.EPIPE), stops=True)
    stream.write("one")
    stream.write("two")
    with pytest.raises(ReaderGone):
        stream.write("three")
    # What is said while the work is being saved is dropped.
    stream.write("four")
    others = GuardedStream(Failing(errno.EPIPE), stops=True)
    thread = threading.Thread(target=lambda: [others.write(word) for word in ("one", "two", "three")])
    thread.start()
    thread.join()
    assert isinstance(others.error, BrokenPipeError)
    errors = GuardedStream(Failing(errno.EPIPE), stops=False)
    for word in ("one", "two", "three"):
        errors.write(word)
    assert isinstance(errors.error, BrokenPipeError)


def test_the_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with guarded_streams() as output:
        assert sys.stdout is output
        print("through the guard")
    assert (sys.stdout, sys.stderr) == before


def test_a_line_is_written_at_once_also_into_a_file(tmp_path, monkeypatch):
    # `hgpo train > log &` and then `tail -f log`: as a stream would be that is given no other setting.
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stdout", log)
        with guarded_streams():
            print("1/200  success 12 %")
            assert (tmp_path / "log").read_text() == "1/200  success 12 %\n"


def test_a_run_whose_reader_has_gone_is_saved(tmp_path):
    run, output, errors = tmp_path / "run", tmp_path / "output", tmp_path / "errors"
    settings = "--iterations 5000 --tasks-per-iteration 2 --group-size 2 --evaluation-tasks 2"
    os.mkfifo(output)
    process = started(command(*settings.split(), "--out", str(run)), output, errors)
    with output.open() as reader:
        assert any("3/5000" in line for line in reader)
    process.join(120)
    assert process.exitcode == 141
    assert "Traceback" not in errors.read_text()
    done = (run / "metrics.jsonl").read_bytes().count(b"\n")
    assert 3 <= done < 5000
    assert (run / "checkpoints" / f"{done:06d}" / "state.json").exists()
