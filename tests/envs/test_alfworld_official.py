"""ALFWorld's own games: the recorded episodes, the panels' sizes, and the expert."""

from __future__ import annotations

import json

import pytest
from official_games import SHARED, unpacked

from hgpo.envs.alfworld import AlfworldSuite
from hgpo.envs.alfworld.replay import replay
from hgpo.envs.base import describe
from hgpo.envs.checker import check, format_report, steps_to_win

RECORDINGS = SHARED / "golden" / "alfworld_transcripts.jsonl.xz"


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> AlfworldSuite:
    if not RECORDINGS.exists():
        pytest.skip(f"needs the recorded episodes in {SHARED}")
    return AlfworldSuite(data=str(unpacked(tmp_path_factory.mktemp("alfworld"), train=300)))


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


def test_the_expert_wins_the_games_of_an_older_release(suite, tmp_path):
    # What the alfred.twl2 of 0.3.5 has in the place of that of 0.4.2; the problems are the same.
    older = {
        "move {o} to {r}": "put {o} in/on {r}",
        "You move the {o.name} to the {r.name}.": "You put the {o.name} in/on the {r.name}.",
        "You arrive at {r.name}.": "You arrive at {lend.name}.",
    }
    for game in suite.games("valid_unseen"):
        data = game.read()
        for new, old in older.items():
            assert new in data["grammar"]
            data["grammar"] = data["grammar"].replace(new, old)
        folder = tmp_path / game.id
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").write_text(json.dumps(data))
        (folder / "traj_data.json").write_text(json.dumps(game.about))
    old_suite = AlfworldSuite(data=str(tmp_path))
    tasks = old_suite.tasks("valid_unseen")
    assert sum(steps_to_win(old_suite, task) is not None for task in tasks) == len(tasks) == 134
    assert describe(old_suite).startswith("alfworld, games of a release before 0.4.0")
    assert describe(suite).startswith("alfworld, games of release 0.4.0 or later")


def test_the_contract_of_environments_holds(suite):
    report = check(suite, games=4)
    assert report.ok, format_report(report)
