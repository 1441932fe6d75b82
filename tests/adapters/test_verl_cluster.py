"""RAY_ADDRESS: a Ray that cannot be joined is reported within seconds, and a dry run starts its own Ray."""

from __future__ import annotations

import os
import socket
import subprocess
from importlib.util import find_spec

import pytest

from hgpo.adapters.verl import cluster
from hgpo.adapters.verl.cluster import why_not_joined
from hgpo.adapters.verl.cpu.dry_run import overrides_for, prepare
from hgpo.adapters.verl.launch import compose, preset_file
from hgpo.cli import main
from hgpo.envs import HouseholdSuite

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def closed() -> str:
    """An address at which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_nothing_listens_there(closed, scheme):
    problem = why_not_joined(scheme + closed)
    assert problem is not None
    assert problem.startswith(f"no Ray at {scheme}{closed} (RAY_ADDRESS): Connection refused; start it there")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("no-such-machine.invalid:6379", "Name or service not known"),
        ("nonsense", "Invalid address format: nonsense"),
        ("http://127.0.0.1:8265", "Invalid Ray address: 'http://127.0.0.1:8265'"),
    ],
)
def test_what_is_no_address(address, reason):
    problem = why_not_joined(address)
    assert problem is not None
    # Resolvers word it in several ways where there is no network.
    assert reason in problem or "name resolution" in problem


def test_what_listens_there_is_no_ray(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 3.0)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        problem = why_not_joined(f"127.0.0.1:{listening.getsockname()[1]}")
    assert problem is not None and "(RAY_ADDRESS): no answer in 3 seconds" in problem


@pytest.mark.parametrize("late", [False, True])
def test_a_ray_that_asks_for_a_token(monkeypatch, late):
    said = b"W gcs_client.cc: Unauthenticated: InvalidAuthToken: Authentication token is missing\nfailed\n"

    def run(command, timeout, **_):
        if late:
            raise subprocess.TimeoutExpired(command, timeout, stderr=said)
        return subprocess.CompletedProcess(command, 1, b"", said)

    monkeypatch.setattr(subprocess, "run", run)
    assert (why_not_joined("auto") or "").startswith(
        "no Ray at auto (RAY_ADDRESS): it asks for a token; set RAY_AUTH_MODE=token"
    )


def test_the_check_says_so_and_goes_on(monkeypatch, capsys, closed):
    monkeypatch.setenv("RAY_ADDRESS", closed)
    assert main(["verl", "check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"PROBLEM  Ray at {closed}"
    assert lines[2].strip().startswith(f"no Ray at {closed} (RAY_ADDRESS): Connection refused")
    assert lines[3] == "ok       plugin in this process"
    assert lines[-1] == "1 problem" and len(lines) > 20


def test_training_says_so_before_anything_is_started(monkeypatch, capsys, closed):
    monkeypatch.setenv("RAY_ADDRESS", closed)
    assert main(["verl", "train", "--preset", "alfworld-1.5b", "hgpo.env.type=household"]) == 2
    assert f"hgpo: no Ray at {closed} (RAY_ADDRESS): Connection refused" in capsys.readouterr().err


def test_a_dry_run_has_a_ray_of_its_own(monkeypatch, tmp_path, closed):
    # monkeypatch puts back what `prepare` changes.
    monkeypatch.setattr(os, "environ", {**os.environ, "RAY_ADDRESS": closed})
    prepare()
    assert "RAY_ADDRESS" not in os.environ
    config = compose(preset_file("alfworld-1.5b"), overrides_for(tmp_path, HouseholdSuite))
    # Without an address Ray would join what `ray start` has left on this machine, and refuse num_cpus.
    assert config.ray_kwargs.ray_init.address == "local"
