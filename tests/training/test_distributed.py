"""Two processes that train one policy do what one does alone, through the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_runs import command, figures

from hgpo.cli import main
from hgpo.distributed import SingleProcess, shard

SMALL = (
    "--iterations 2 --tasks-per-iteration 3 --group-size 8 --evaluation-tasks 3 --learning-rate 1e-3 "
    "--learning-rate-warmup 0 --token-budget 2000 --checkpoint-every 1"
)


def weights(folder: Path, iteration: int) -> torch.Tensor:
    tensors = load_file(folder / "checkpoints" / f"{iteration:06d}" / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


OPTIONS = {"sampled": [], "recomputed": ["--old-logprobs", "recomputed"]}
PROGRAM = "import json, sys\nfrom hgpo.cli import main\nfor words in json.loads(sys.argv[1]): assert main(words) == 0, words\n"


def test_two_processes_learn_what_one_does(tmp_path):
    # Three groups for two processes: their shares differ, and so do those of the micro-batches.
    commands = {
        place: [
            command(*SMALL.split(), *options, "--out", str(tmp_path / place / name))
            for name, options in OPTIONS.items()
        ]
        for place in ("alone", "together")
    }
    for words in commands["alone"]:
        assert main(words) == 0
    # Processes take seconds to start: the same two train one run after the other.
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, str(program), json.dumps(commands["together"])],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    # One of them speaks: each iteration has one line.
    assert done.stdout.count("1/2  success") == len(OPTIONS)
    for name in OPTIONS:
        alone, together = tmp_path / "alone" / name, tmp_path / "together" / name
        assert not torch.allclose(weights(alone, 1), weights(alone, 2), atol=1e-4)
        for iteration in (1, 2):
            assert torch.allclose(weights(together, iteration), weights(alone, iteration), atol=1e-5)
        for found, expected in zip(figures(together), figures(alone), strict=True):
            assert found == pytest.approx(expected, abs=1e-4)
        assert len((together / "evaluations.jsonl").read_text().splitlines()) == 2 * 2
        assert (together / "report.html").exists()


class Seat(SingleProcess):
    """One place of several, without the others."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def test_shares_are_disjoint_whole_and_nearly_equal():
    for size in (1, 2, 3, 5):
        parts = [list(shard(range(11), Seat(rank, size))) for rank in range(size)]
        assert sorted(item for part in parts for item in part) == list(range(11))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
