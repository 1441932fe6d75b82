"""TextArena's games for one player: what counts as a move, what chance does, and how a game is won."""

from __future__ import annotations

import random
from collections import deque

import pytest

pytest.importorskip("textarena", reason="TextArena is missing: pip install 'hgpo[textarena]'")

from hgpo.envs.bridges import TextArenaSuite
from hgpo.envs.checker import check
from hgpo.errors import SettingError


def started(suite, number=0):
    environment = suite.make()
    text, info = environment.reset(suite.tasks("held_out", number + 1)[number])
    return environment, text, info


@pytest.mark.parametrize(
    "suite",
    [
        TextArenaSuite(held_out=2),
        TextArenaSuite("TowerOfHanoi-v0", held_out=2, state_key="game_state"),
        TextArenaSuite("GuessTheNumber-v0", held_out=2),
        TextArenaSuite("Blackjack-v0", held_out=2, commands=("[Hit]", "[Stand]")),
    ],
    ids=lambda suite: suite.id,
)
def test_the_contract_holds(suite):
    assert check(suite, games=3, seed=0).problems == ()


def test_rules_are_the_instruction_and_the_board_is_what_is_read():
    suite = TextArenaSuite()
    [task] = suite.tasks("held_out", 1)
    _, text, info = started(suite)
    assert task.instruction.startswith("Welcome to Frozen Lake!")
    assert text.startswith("Current Board:") and "Welcome" not in text
    hanoi, *_ = started(TextArenaSuite("TowerOfHanoi-v0"))
    assert hanoi.step("[A C]")[0].startswith("You moved disk 1 from A to C.")
    assert info.admissible_commands == ("[up]", "[down]", "[left]", "[right]")


def test_invalid_moves_change_nothing_however_many_there_are():
    # The player starts in the upper left corner. TextArena ends a game at the second invalid move in a row.
    environment, text, start = started(TextArenaSuite(max_steps=6))
    for _ in range(5):
        shown, reward, ended, truncated, info = environment.step("[up]")
        assert "hit a wall" in shown and shown.endswith(text)
        assert (reward, ended, truncated) == (0.0, False, False)
        assert info == start
    assert environment.step("jump")[2:4] == (False, True)


def steps_to_goal(grid):
    """Fewest steps from the upper left corner to the goal that pass by the holes."""
    waiting, seen = deque([((0, 0), 0)]), {(0, 0)}
    while waiting:
        (row, column), steps = waiting.popleft()
        if grid[row][column] == "G":
            return steps
        for there in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = all(0 <= each < len(grid) for each in there)
            if inside and grid[there[0]][there[1]] != "H" and there not in seen:
                seen.add(there)
                waiting.append((there, steps + 1))
    raise AssertionError("no way")


def test_the_walkthrough_is_the_shortest_way_to_win():
    suite = TextArenaSuite()
    for task in suite.tasks("held_out", 5):
        environment = suite.make()
        environment.reset(task)
        commands = suite.walkthrough(task)
        assert commands is not None
        assert len(commands) == steps_to_goal(environment.game.state.game_state["grid"])
        steps = [environment.step(command) for command in commands]
        assert [reward for _, reward, *_ in steps] == [0.0] * (len(steps) - 1) + [10.0]
        assert steps[-1][2] and steps[-1][4].won and steps[-1][4].score == 1.0
    # A tower of 3 disks takes 2³ − 1 moves.
    hanoi, guess = TextArenaSuite("TowerOfHanoi-v0"), TextArenaSuite("GuessTheNumber-v0")
    assert len(hanoi.walkthrough(hanoi.tasks("train", 1)[0]) or ()) == 7
    assert guess.walkthrough(guess.tasks("train", 1)[0]) is None


def test_a_game_that_is_lost_has_the_share_that_was_reached_as_score():
    # One disk goes from A to B and back, over and over: no disk is ever on C, and TextArena pays the share of
    # the disks there, 0 of 3, when a move is made after its limit of 14 turns.
    environment, *_ = started(TextArenaSuite("TowerOfHanoi-v0"))
    steps = [environment.step(command) for command in (["[A B]", "[B A]"] * 8)[:15]]
    _, reward, ended, truncated, info = steps[-1]
    assert (reward, ended, truncated, info.won, info.score) == (0.0, True, False, False, 0.0)
    assert not any(step[2] for step in steps[:-1])


def moves_of(environment, count):
    return [environment.step(("[left]", "[down]", "[right]", "[up]")[n % 4])[0] for n in range(count)]


def test_chance_is_the_episodes_own():
    # 2048 puts new tiles in places that it draws from Python's global generator.
    suite = TextArenaSuite("2048-v0")
    alone, *_ = started(suite)
    expected = moves_of(alone, 12)
    one, *_ = started(suite)
    other, *_ = started(suite, 1)
    mixed = []
    random.seed(5)
    for number in range(12):
        command = ("[left]", "[down]", "[right]", "[up]")[number % 4]
        mixed.append(one.step(command)[0])
        other.step(command)
    drawn = random.random()
    assert mixed == expected
    random.seed(5)
    assert random.random() == drawn


def test_a_fork_goes_its_own_way_and_meets_the_same_chance():
    environment, *_ = started(TextArenaSuite("2048-v0"))
    moves_of(environment, 3)
    twin = environment.fork()
    after = moves_of(environment, 8)
    assert moves_of(twin, 8) == after


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"id": "Nope-v0"}, "Nope-v0: ValueError: Environment Nope-v0-raw not found"),
        ({"id": "TicTacToe-v0"}, "The number of players has to be 2, received 1"),
        ({"id": "Slitherlink-v0", "state_key": "game_state"}, "Slitherlink-v0 keeps none: take observation"),
        ({"state_key": "board"}, "--env.state-key board: choose from"),
        ({"max_steps": 0}, "expected 1 or more"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(settings, words):
    with pytest.raises(SettingError) as refused:
        TextArenaSuite(**settings).tasks("train", 1)
    assert words in str(refused.value) and "\n" not in str(refused.value)
