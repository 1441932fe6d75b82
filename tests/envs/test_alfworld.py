"""The ALFWorld environment on a folder laid out as the official one, with games of our own in it."""

from __future__ import annotations

import json
import lzma
import random
import re
from pathlib import Path

import pytest
from small_game import PROBLEM, small_game

from hgpo.cli import main
from hgpo.envs.alfworld import AlfworldSuite, Episode, GameFormatError, compile_game
from hgpo.envs.alfworld import games as games_module
from hgpo.envs.base import Info
from hgpo.envs.household import generate
from hgpo.envs.play import play
from hgpo.envs.state_keys import STATE_KEYS, EpisodeKeys, View
from hgpo.errors import SettingError

PICK = "pick_and_place_simple"


def put_game(folder: Path, identifier: str, *, kind: str = PICK, solvable: bool = True) -> None:
    trial = folder / identifier
    trial.mkdir(parents=True)
    game = {**generate("train/0").game, "solvable": solvable}
    for name in re.findall(r"(\w+) - (?:receptacle|object)\n", game["pddl_problem"]):
        # Official identifiers are a kind, then coordinates.
        game["pddl_problem"] = re.sub(rf"\b{name}\b", f"{name}_bar_1", game["pddl_problem"])
    game["grammar"] = game["grammar"].replace('"rhs": "#scene#"', '"rhs": "#scene# Your task is to: win."')
    (trial / "game.tw-pddl").write_text(json.dumps(game))
    parameters = {"object_target": "Mug", "parent_target": "Shelf", "toggle_target": ""}
    (trial / "traj_data.json").write_text(json.dumps({"task_type": kind, "pddl_params": parameters}))


@pytest.fixture
def data(tmp_path) -> Path:
    """Two games for training, one in each panel, and some that do not count."""
    folder = tmp_path / "json_2.1.1"
    for identifier in ("train/a/t1", "train/a/t2", "valid_seen/b/t1", "valid_unseen/c/t1"):
        put_game(folder, identifier)
    put_game(folder, "train/movable-a/t1")
    put_game(folder, "train/pick-AppleSliced/t1")
    put_game(folder, "train/unsolved/t1", solvable=False)
    put_game(folder, "train/other/t1", kind="pick_and_place_with_movable_recep")
    put_game(folder, "train/untold/t1")
    (folder / "train/untold/t1/traj_data.json").unlink()
    return tmp_path


def test_games_that_the_official_loader_leaves_out_are_left_out(data):
    suite = AlfworldSuite(data=str(data))
    assert {split: [game.id for game in suite.games(split)] for split in suite.splits} == {
        "train": ["train/a/t1", "train/a/t2"],
        "valid_seen": ["valid_seen/b/t1"],
        "valid_unseen": ["valid_unseen/c/t1"],
    }


def test_training_draws_without_repetition_while_games_last(data):
    tasks = AlfworldSuite(data=str(data)).tasks("train", 5, seed=3)
    ids = [task.id for task in tasks]
    assert set(ids[:2]) == set(ids[2:4]) == {"train/a/t1", "train/a/t2"}
    assert tasks[0].instruction == "win" and tasks[0].kind == PICK


def test_the_data_is_found_by_the_environment_variable_in_either_layout(data, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    (data / "json_2.1.1").rename(data / "json_2.1.2")
    assert len(AlfworldSuite().tasks("valid_seen")) == 1


@pytest.mark.parametrize("given", [None, "here"])
def test_no_data_is_one_line_with_the_cure(given, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    option = [] if given is None else ["--data", str(tmp_path)]
    assert main(["env", "check", "alfworld", *option]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "alfworld-download" in error


def record(data: Path, path: Path) -> list[dict]:
    """Our own episode in the format of recordings, and the file it is written to."""
    suite = AlfworldSuite(data=str(data))
    episode = Episode(suite.compiled(suite.games("train")[0]))
    first = {"observation": episode.observation, "admissible": [*episode.admissible_commands][::-1]}
    steps = []
    for command in (episode.admissible_commands[0], "dance", episode.admissible_commands[1]):
        observation = episode.step(command)
        admissible = [*episode.admissible_commands]
        seen = {"action": command, "observation": observation, "admissible": admissible}
        steps.append({**seen, "score": 0, "done": False, "won": False})
    records = [{"game": "train/a/t1", "runs": [{"mode": "plan", "first": first, "steps": steps}]}]
    write(path, records)
    return records


def write(path: Path, records: list[dict]) -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(lzma.compress(text.encode()) if path.suffix == ".xz" else text.encode())


@pytest.mark.parametrize("name", ["episodes.jsonl", "episodes.jsonl.xz"])
def test_a_true_recording_is_replayed_and_counted(data, tmp_path, capsys, name):
    record(data, tmp_path / name)
    assert main(["env", "replay", str(tmp_path / name), "--env", "alfworld", "--data", str(data)]) == 0
    assert "1 episodes, 3 steps compared: all equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value"),
    [("observation", "You see a dragon."), ("admissible", ["look"]), ("score", 1), ("done", True), ("won", True)],
)  # fmt: skip
def test_whatever_differs_is_named(data, tmp_path, capsys, field, value):
    path = tmp_path / "episodes.jsonl"
    records = record(data, path)
    records[0]["runs"][0]["steps"][1][field] = value
    write(path, records)
    assert main(["env", "replay", str(path), "--env", "alfworld", "--data", str(data)]) == 1
    out = capsys.readouterr().out
    assert "3 steps compared: 1 differ" in out and f"step 2 'dance': {field}" in out


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 1, "nothing to compare"),
        ("{", 2, "line 1 is not a recorded episode"),
        ("[]", 2, "line 1 is not a recorded episode"),
        ('{"game": "train/a/t1"}', 2, "not a recorded ALFWorld episode"),
        ('{"game": "train/z/t1", "runs": []}', 2, "no game train/z/t1"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(data, tmp_path, capsys, text, code, said):
    path = tmp_path / "episodes.jsonl"
    path.write_text(text)
    assert main(["env", "replay", str(path), "--env", "alfworld", "--data", str(data)]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        (json.dumps({"pddl_domain": "x"}), "a game must have the text"),
        (json.dumps(small_game(problem="(define (problem p))")), "the problem has no :goal"),
    ],
)
def test_a_broken_game_file_is_named(data, content, message):
    suite = AlfworldSuite(data=str(data))
    game = suite.games("train")[0]
    (game.folder / "game.tw-pddl").write_text(content)
    with pytest.raises(GameFormatError, match=message) as error:
        suite.compiled(game)
    assert str(game.folder) in str(error.value)


def test_a_file_that_is_far_too_large_is_not_read(data, monkeypatch):
    monkeypatch.setattr(games_module, "LARGEST_FILE", 100)
    with pytest.raises(GameFormatError, match="no game is larger than 100"):
        AlfworldSuite(data=str(data)).games("train")


def test_a_game_that_is_not_there_is_refused(data):
    with pytest.raises(SettingError, match="no game train/none"):
        AlfworldSuite(data=str(data)).game("train/none")


def test_a_person_can_play(data):
    shown: list[str] = []
    lines = iter(["1", "quit"])
    assert not play(AlfworldSuite(data=str(data)), input=lambda _: next(lines), output=shown.append)
    assert "Your task: win" in shown[0] and shown[-1] == "You stopped after 1 step."


def keys(name, keep: bool, data: Path) -> list[object]:
    """The keys at the start, after an unknown command, and after one that goes somewhere."""
    suite = AlfworldSuite(data=str(data), state_key=name, keep_key_if_unchanged=keep)
    environment = suite.make()
    _, info = environment.reset(suite.tasks("train", 1)[0])
    found: list[Info] = [info]
    for command in ("dance", info.admissible_commands[0]):
        found.append(environment.step(command)[-1])
    return [info.state_key for info in found]


def test_nothing_happens_is_a_state_of_its_own_only_where_that_is_asked_for(data):
    start, unknown, moved = keys("observation", True, data)
    assert start == unknown != moved
    start, unknown, moved = keys("observation", False, data)
    assert unknown == "Nothing happens." and start != moved
    # The whole state knows anyway that nothing has changed.
    start, unknown, moved = keys("full_state", False, data)
    assert start == unknown != moved


def test_what_each_key_tells_apart():
    # One observation, two sets of commands, two full states.
    views = [View("a box", commands, False, lambda state=state: state) for commands, state in
             [(("open",), 1), (("open",), 2), (("shut",), 3)]]  # fmt: skip
    distinct = {name: len({EpisodeKeys(name, True).after(view)[0] for view in views}) for name in STATE_KEYS}
    assert distinct == {"observation": 1, "observation_and_commands": 2, "full_state": 3}


def mutated(rng: random.Random, text: str) -> str:
    start = rng.randrange(len(text))
    end = start + rng.randrange(1, 40)
    other = rng.randrange(len(text))
    return rng.choice(
        [
            text[:start],
            text[:start] + text[end:],
            text[:start] + text[start:end] * 3 + text[end:],
            text[:start] + "".join(rng.choices('()?{}#[]"|:&. \né', k=6)) + text[end:],
            text[:start] + text[other : other + 60] + text[start:],
        ]
    )


def test_damaged_games_are_refused_or_played_but_raise_nothing_else():
    # 600 games with one to three wounds each. (Larger rounds of the same have found what is mended.)
    refused = 0
    for number in range(600):
        rng = random.Random(number)
        game = small_game()
        part = rng.choice(list(game))
        for _ in range(rng.randrange(1, 4)):
            game[part] = mutated(rng, game[part] or "x")
        try:
            episode = Episode(compile_game(game))
            for _ in range(6):
                episode.step(rng.choice(episode.admissible_commands or ("x",)))
        except GameFormatError:
            refused += 1
    assert 400 < refused < 600


@pytest.mark.parametrize("part", ["domain", "problem", "grammar"])
@pytest.mark.parametrize("piece", ["(", "#{", 'grammar :: """', 'action a { template :: "x"; '])
def test_a_megabyte_of_nonsense_is_refused(part, piece):
    with pytest.raises(GameFormatError):
        compile_game(small_game(**{part: piece * (1_000_000 // len(piece))}))


def test_conditions_that_nest_without_end_are_refused():
    # Sound PDDL, but no game's: what reads and compiles it would run out of stack.
    condition = "(and " * 5_000 + "(lit)" + ")" * 5_000
    with pytest.raises(GameFormatError, match="nest deeper than"):
        compile_game(small_game(problem=PROBLEM.replace("(not (lit))", condition)))
