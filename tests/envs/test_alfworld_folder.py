"""Where ALFWorld's games are found, which are left out, and the error if none remain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from alfred_game import BEFORE_040, WORDING, put_alfred_game

from hgpo.cli import evaluate, main
from hgpo.envs.alfworld import AlfworldSuite
from hgpo.envs.base import describe
from hgpo.errors import SettingError

SPLITS = ("train", "valid_seen", "valid_unseen")


def put_games(folder: Path, splits: Sequence[str] = SPLITS, wording=WORDING, **changes) -> None:
    for split in splits:
        for trial in ("t1", "t2"):
            put_alfred_game(folder, f"{split}/game/{trial}", wording=wording, **changes)


@pytest.fixture
def nowhere(monkeypatch, tmp_path) -> Path:
    """A home without games, and no variable that names others."""
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def sizes(suite: AlfworldSuite) -> list[int]:
    return [len(suite.games(split)) for split in SPLITS]


def test_games_are_found_where_the_download_puts_them_by_default(nowhere):
    put_games(nowhere / ".cache/alfworld/json_2.1.1")
    assert sizes(AlfworldSuite()) == [2, 2, 2]


def test_the_variable_comes_before_the_default_folder_and_may_begin_with_a_tilde(nowhere, monkeypatch):
    put_games(nowhere / ".cache/alfworld/json_2.1.1")
    put_games(nowhere / "games/json_2.1.1", ["train"])
    monkeypatch.setenv("ALFWORLD_DATA", "~/games")
    assert sizes(AlfworldSuite()) == [2, 0, 0]
    assert sizes(AlfworldSuite(data="~/.cache/alfworld")) == [2, 2, 2]
    # Empty is not set.
    monkeypatch.setenv("ALFWORLD_DATA", "")
    assert sizes(AlfworldSuite()) == [2, 2, 2]


def test_the_variable_that_leads_nowhere_is_named(nowhere, monkeypatch):
    put_games(nowhere / ".cache/alfworld/json_2.1.1")
    monkeypatch.setenv("ALFWORLD_DATA", str(nowhere / "none"))
    with pytest.raises(SettingError, match=r"no ALFWorld games in .*/none \(\$ALFWORLD_DATA\)"):
        sizes(AlfworldSuite())
    monkeypatch.setenv("ALFWORLD_DATA", "~nobody-of-this-name/x")
    with pytest.raises(SettingError, match="~nobody-of-this-name/x is not a folder"):
        sizes(AlfworldSuite())


@pytest.mark.parametrize("layout", ["json_2.1.1", "json_2.1.2", "json_2.1.3", "json_2.1.1/json_2.1.1", "."])
def test_every_layout_is_found(tmp_path, layout):
    put_games(tmp_path / layout)
    assert sizes(AlfworldSuite(data=str(tmp_path))) == [2, 2, 2]


def test_of_two_layouts_the_newer_one_is_taken_if_it_is_as_complete(tmp_path):
    put_games(tmp_path / "json_2.1.1")
    put_games(tmp_path / "json_2.1.2", wording=BEFORE_040)
    assert "put … in/on …" in describe(AlfworldSuite(data=str(tmp_path)))


@pytest.mark.parametrize(
    "other", ["empty folders", "no traj_data.json", "one split", "the first game is broken"]
)
def test_a_layout_that_is_not_complete_does_not_hide_one_that_is(tmp_path, other):
    put_games(tmp_path / "json_2.1.1")
    newer = tmp_path / "json_2.1.2"
    if other == "empty folders":
        for split in SPLITS:
            (newer / split).mkdir(parents=True)
    else:
        put_games(newer, SPLITS[:1] if other == "one split" else SPLITS)
    if other == "no traj_data.json":
        for path in newer.rglob("traj_data.json"):
            path.unlink()
    if other == "the first game is broken":
        # Both layouts have whole games then, and the newer one is taken.
        (newer / "train/game/t1/traj_data.json").unlink()
    expected = [1, 2, 2] if other == "the first game is broken" else [2, 2, 2]
    assert sizes(AlfworldSuite(data=str(tmp_path))) == expected


def test_games_count_for_more_than_folders(tmp_path):
    put_games(tmp_path / "json_2.1.1", ["train", "valid_seen"])
    put_games(tmp_path / "json_2.1.2", ["train"])
    for split in SPLITS[1:]:
        (tmp_path / "json_2.1.2" / split).mkdir()
    assert sizes(AlfworldSuite(data=str(tmp_path))) == [2, 2, 0]


def test_games_at_any_depth_and_behind_links_are_found(tmp_path):
    put_games(tmp_path / "elsewhere", ["train"])
    (tmp_path / "json_2.1.1/train").mkdir(parents=True)
    (tmp_path / "json_2.1.1/train/game").symlink_to(tmp_path / "elsewhere/train/game")
    put_alfred_game(tmp_path / "json_2.1.1", "train/more/of/them/t3")
    suite = AlfworldSuite(data=str(tmp_path))
    assert [game.id for game in suite.games("train")] == [
        "train/game/t1",
        "train/game/t2",
        "train/more/of/them/t3",
    ]


def without_traj_data(folder: Path) -> None:
    put_games(folder)
    for path in folder.rglob("traj_data.json"):
        path.unlink()


def without_game_files(folder: Path) -> None:
    put_games(folder)
    for path in folder.rglob("game.tw-pddl"):
        path.unlink()


def mixed(folder: Path) -> None:
    for split in SPLITS:
        put_alfred_game(folder, f"{split}/pick_movable/t1")
        put_alfred_game(folder, f"{split}/AppleSliced/t1")
        trial = put_alfred_game(folder, f"{split}/other/t1")
        (trial / "traj_data.json").write_text(json.dumps({"task_type": "stack"}))
        put_alfred_game(folder, f"{split}/unsolvable/t1", solvable=False)
        put_alfred_game(folder, f"{split}/unknown/t1", solvable=None)
        (put_alfred_game(folder, f"{split}/untold/t1") / "traj_data.json").unlink()


EMPTY = {
    "none has traj_data.json": (
        without_traj_data,
        "2 folders have game.tw-pddl, 2 of them no traj_data.json",
    ),
    "nobody says whether they are solvable": (
        lambda folder: put_games(folder, solvable=None),
        '2 folders have game.tw-pddl, 2 of them no "solvable"',
    ),
    "not solvable": (
        lambda folder: put_games(folder, solvable=False),
        '2 folders have game.tw-pddl, 2 of them "solvable" not true',
    ),
    "no game files": (without_game_files, "no folder has game.tw-pddl, 2 traj_data.json"),
    "empty folders": (
        lambda folder: [(folder / split).mkdir(parents=True) for split in SPLITS],
        "no folder has game.tw-pddl, none traj_data.json",
    ),
    "a bit of everything": (
        mixed,
        "6 folders have game.tw-pddl, 2 of them a movable receptacle or something sliced, 1 of them another "
        'task type, 1 of them no "solvable", 1 of them "solvable" not true, 1 of them no traj_data.json',
    ),
}  # fmt: skip
COMMANDS = {
    "env solve": ["env", "solve", "alfworld"],
    "env play": ["env", "play", "alfworld"],
    "env check": ["env", "check", "alfworld"],
    "evaluate": ["evaluate", "--policy", "random", "env:alfworld"],
    "published": ["evaluate", "--policy", "random", "--published", "env:alfworld"],
    "train": ["train", "--iterations", "1", "env:alfworld"],
    "lab": ["lab", "oracle", "--policy", "random", "--env", "alfworld"],
    "compare": ["compare", "--seeds", "1", "--env", "alfworld"],
}


@pytest.mark.parametrize(("make", "why"), EMPTY.values(), ids=EMPTY)
def test_a_split_that_is_empty_says_what_was_left_out_and_why(tmp_path, make, why):
    make(tmp_path / "json_2.1.1")
    with pytest.raises(SettingError) as error:
        AlfworldSuite(data=str(tmp_path)).tasks("train", 1)
    assert str(error.value).startswith(f"{tmp_path}/json_2.1.1/train has no games of the benchmark: {why}. ")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_says_so_in_one_line(nowhere, monkeypatch, capsys, command):
    without_traj_data(nowhere / "json_2.1.1")
    monkeypatch.setenv("ALFWORLD_DATA", str(nowhere))
    monkeypatch.chdir(nowhere)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "has no games of the benchmark: 2 folders have game.tw-pddl, 2 of them no traj_data.json" in error
    assert error.startswith("hgpo: ") and error.count("\n") == 1


@pytest.mark.stack
@pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("empty", ["train", "valid_seen"])
def test_so_does_training_in_verl(nowhere, monkeypatch, capsys, empty):
    put_games(nowhere / "json_2.1.1", [split for split in SPLITS if split != empty])
    monkeypatch.setenv("ALFWORLD_DATA", str(nowhere))
    assert main(["verl", "train", "--preset", "alfworld-1.5b"]) == 2
    assert (
        f"json_2.1.1/{empty} has no games of the benchmark: there is no such folder"
        in capsys.readouterr().err
    )


def test_a_panel_that_is_empty_is_missed_before_anyone_plays(nowhere, monkeypatch, capsys):
    put_games(nowhere / "json_2.1.1", ["train", "valid_seen"])
    monkeypatch.setenv("ALFWORLD_DATA", str(nowhere))
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_split", lambda *_, **__: pytest.fail("played"))
        assert main(["evaluate", "--policy", "random", "env:alfworld"]) == 2
    assert "valid_unseen has no games of the benchmark" in capsys.readouterr().err
    # The other panel can be played.
    assert main(["evaluate", "--policy", "expert", "--split", "valid_seen", "env:alfworld"]) == 0
    assert "100.0" in capsys.readouterr().out


@pytest.mark.parametrize("environment", ["alfworld", "household"])
def test_a_panel_with_fewer_games_than_are_asked_for_is_one_line(nowhere, monkeypatch, capsys, environment):
    put_games(nowhere / "json_2.1.1")
    monkeypatch.setenv("ALFWORLD_DATA", str(nowhere))
    assert main(["evaluate", "--policy", "random", "--tasks", "500", f"env:{environment}"]) == 2
    assert "tasks, not 500" in capsys.readouterr().err


NEW = 'release 0.4.0 or later (things are put down by "move … to …")'
OLD = 'a release before 0.4.0 (things are put down by "put … in/on …")'


def test_the_release_is_named(tmp_path):
    put_games(tmp_path / "new")
    put_games(tmp_path / "old", wording=BEFORE_040)
    put_games(tmp_path / "other", wording={**WORDING, "PutObject": "drop {o}"})
    put_games(tmp_path / "both", ["train"])
    put_games(tmp_path / "both", ["valid_seen", "valid_unseen"], BEFORE_040)
    put_games(tmp_path / "partial")
    (tmp_path / "partial/train/game/t1/traj_data.json").unlink()

    def told(name: str) -> str:
        return describe(AlfworldSuite(data=str(tmp_path / name)))

    assert told("new") == f"alfworld, games of {NEW}"
    assert told("old") == f"alfworld, games of {OLD}"
    assert told("other") == 'alfworld, games of no known release (things are put down by "drop …")'
    assert told("both") == f"alfworld, games of several releases: 2 of {NEW}, 4 of {OLD}"
    assert told("partial") == f"alfworld, games of {NEW}; left out: 1 with no traj_data.json"


def test_results_name_the_release(tmp_path, capsys):
    put_games(tmp_path / "games", wording=BEFORE_040)
    data, out = str(tmp_path / "games"), tmp_path / "results"
    said = " ".join(f"tasks: alfworld, games of {OLD}".split())
    for command in (
        ["evaluate", "--policy", "expert", "--out", str(out), "env:alfworld", "--env.data", data],
        ["env", "check", "alfworld", "--tasks", "1", "--data", data],
        ["env", "solve", "alfworld", "--data", data],
    ):
        assert main(command) == 0, capsys.readouterr()
        assert said in " ".join(capsys.readouterr().out.split())
    results = json.loads((out / "results.json").read_text())
    assert {result["suite"] for result in results} == {f"alfworld, games of {OLD}"}


def test_texts_have_the_words_of_every_release(tmp_path):
    put_games(tmp_path, ["train"])
    put_games(tmp_path, ["valid_seen", "valid_unseen"], BEFORE_040)
    text = "\n".join(AlfworldSuite(data=str(tmp_path)).texts())
    assert "move {o} to {r}" in text and "put {o} in/on {r}" in text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("game.tw-pddl", "", "game.tw-pddl is not JSON"),
        ("traj_data.json", "[1, 2", "traj_data.json is not JSON"),
        ("game.tw-pddl", json.dumps({"solvable": True, "grammar": "x"}), "valid_seen/game/t1: the section"),
        ("game.tw-pddl", json.dumps({"solvable": True}), "valid_seen/game/t1: a game must have the text"),
    ],
)
@pytest.mark.parametrize("command", [COMMANDS["evaluate"], COMMANDS["env solve"]], ids=["evaluate", "solve"])
def test_a_damaged_file_is_named_in_one_line(nowhere, monkeypatch, capsys, file, content, message, command):
    put_games(nowhere / "json_2.1.1")
    monkeypatch.setenv("ALFWORLD_DATA", str(nowhere))
    (nowhere / "json_2.1.1/valid_seen/game/t1" / file).write_text(content)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
