"""Threads that wait for others sleep, unless the user says otherwise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import threads

from hgpo.threads import WAITING, wait_asleep


def test_threads_sleep_where_the_environment_says_nothing():
    environment = {"OMP_NUM_THREADS": "2"}
    wait_asleep(environment)
    assert environment == {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_says_of_waiting_stays(name):
    environment = {name: "1000"}
    wait_asleep(environment)
    assert environment == {name: "1000"}


@pytest.mark.parametrize(("given", "spins"), [({}, 0), ({"GOMP_SPINCOUNT": "1234"}, 1234)])
def test_openmp_hears_of_it_before_a_command_loads_torch(given, spins, tmp_path):
    # OpenMP's runtimes say what they were told when they are loaded; GNU's says how often it looks before it
    # sleeps, which is 0 times where waiting is passive.
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-m", "hgpo", "presets"],
        env={**environment, **given, "OMP_DISPLAY_ENV": "VERBOSE"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_" not in done.stderr:
        pytest.skip("this torch has another OpenMP than GNU's")
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr) == [str(spins)]


@pytest.mark.slow
def test_two_threads_are_no_slower_than_one_beside_nine_busy_processes():
    # Half a turn's spread is what other work on the machine makes of equal times.
    command = [sys.executable, threads.__file__, "--load", "9", "--repeats", "5"]
    done = subprocess.run(
        command, cwd=Path(threads.__file__).parent, capture_output=True, text=True, check=True
    )
    _, one, spinning, asleep, *_ = (
        float(cell) for cell in done.stdout.splitlines()[-1].strip("| ").split("|")
    )
    assert asleep < 1.15 * one
    assert asleep < spinning
