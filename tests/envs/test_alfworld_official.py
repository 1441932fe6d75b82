"""ALFWorld's own games: the recorded episodes, the panels' sizes, and the expert."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hgpo.envs.alfworld import AlfworldSuite
from hgpo.envs.alfworld.replay import replay
from hgpo.envs.checker import check, format_report, steps_to_win

SHARED = Path(__file__).resolve().parents[3] / "shared"
RECORDINGS = SHARED / "golden" / "alfworld_transcripts.jsonl.xz"
UNPACK = SHARED / "data" / "alfworld" / "unpack.py"


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> AlfworldSuite:
    """Both panels and the first 300 training games, as alfworld-download leaves them."""
    if not (UNPACK.exists() and RECORDINGS.exists()):
        pytest.skip(f"needs the official games in {SHARED}")
    if not os.environ.get("ALFWORLD_WHEEL") and importlib.util.find_spec("alfworld") is None:
        pytest.skip("needs ALFWorld's domain: set ALFWORLD_WHEEL to the wheel of alfworld 0.4.2")
    folder = tmp_path_factory.mktemp("alfworld")
    subprocess.run([sys.executable, UNPACK, folder, "--train", "300"], check=True, capture_output=True)
    return AlfworldSuite(data=str(folder))


def test_every_recorded_step_is_played_with_the_same_text(suite):
    comparison = replay(suite, RECORDINGS)
    assert comparison.steps == 1165
    assert comparison.differences == []


def test_the_panels_have_the_official_sizes(suite):
    assert [len(suite.tasks(split)) for split in suite.splits[1:]] == [140, 134]


def test_the_expert_wins_every_valid_game(suite):
    lost = [
        task.id
        for split in suite.splits[1:]
        for task in suite.tasks(split)
        if steps_to_win(suite, task) is None
    ]
    assert lost == []


def test_the_contract_of_environments_holds(suite):
    report = check(suite, games=4)
    assert report.ok, format_report(report)
