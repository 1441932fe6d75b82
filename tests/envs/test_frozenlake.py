"""FrozenLake: steps and slips, maps that can be crossed, and what it is worth to remember the key."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hgpo.envs import FrozenLakeSuite
from hgpo.envs.frozenlake.expert import DISCOUNT, best_success, foreseen, next_command, walk
from hgpo.envs.frozenlake.lake import CLOCKWISE, Lake, State, draw_lake, way_from_start
from hgpo.envs.frozenlake.memory import success_without_memory
from hgpo.envs.frozenlake.suite import LakeGame
from hgpo.envs.generated import is_held_out
from hgpo.envs.grids import as_set, distance, inside_of, inside_set
from hgpo.errors import SettingError


def lake_of(*rows: str, slips: int | None = None) -> Lake:
    """The lake that a map shows, with one sign per cell."""
    width = len(rows) + 2
    at = dict(zip(inside_of(width), "".join(rows), strict=True))
    where = {sign: [cell for cell, of in at.items() if of == sign] for sign in "POGKD"}
    key, door = (next(iter(where[sign]), None) for sign in "KD")
    return Lake(width, as_set(where["O"]), where["P"][0], where["G"][0], key, door, slips)


def play(game: LakeGame, *commands: str) -> State:
    state = game.start()
    for command in commands:
        assert game.outcome(state) == "playing"
        after = game.after(state, command)
        assert after is not None
        state = after[0]
    return state


def shown(game: LakeGame, state: State) -> list[str]:
    return game.look(state).replace(" ", "").split("\n")


MAP = ("P__O", "_O__", "____", "O__G")


def test_a_walk_ends_at_the_goal_or_in_a_hole():
    game = LakeGame(lake_of(*MAP))
    assert shown(game, game.start()) == list(MAP)
    assert game.commands(game.start()) == ("down", "right")
    assert game.after(game.start(), "up") is None
    fallen = play(game, "down", "right")
    assert game.outcome(fallen) == "lost" and shown(game, fallen) == ["___O", "_X__", "____", "O__G"]
    arrived = play(game, "down", "down", "right", "right", "right", "down")
    assert game.outcome(arrived) == "won" and shown(game, arrived)[3] == "O__√"


def test_the_key_opens_the_door_and_is_seen_from_the_start_only():
    #  P is the start, the cell below it the fork; the key is to the left of the fork, the door to its right.
    game = LakeGame(lake_of("OPO_", "K_D_", "OO_G", "____"))
    assert shown(game, game.start())[1] == "K_D_"
    at_fork = play(game, "down")
    assert shown(game, at_fork) == ["O_O_", "_PD_", "OO_G", "____"]
    assert game.outcome(play(game, "down", "right")) == "lost"
    back = play(game, "down", "left", "right")
    # What is seen at the fork is the same with and without the key, but it is not the same state.
    assert shown(game, back) == shown(game, at_fork) and back != at_fork
    assert game.outcome(play(game, "down", "left", "right", "right", "right", "down")) == "won"


def test_coordinates_say_the_same_as_the_map_with_the_nearest_holes_first():
    game = LakeGame(lake_of("OPO_", "K_D_", "OO_G", "____"), form="coordinates")
    assert game.look(game.start()) == (
        "goal: 2 down 2 right.\ndoor: 1 down 1 right.\nkey: 1 down 1 left.\n"
        "holes: 0 down 1 left, 0 down 1 right, 2 down 0 right, 2 down 1 left."
    )
    assert game.look(play(game, "down")) == (
        "goal: 1 down 2 right.\ndoor: 0 down 1 right.\n"
        "holes: 1 down 0 right, 1 up 1 left, 1 up 1 right, 1 down 1 left."
    )


SLIPPERY = lake_of(*MAP, slips=7)


def test_slips_are_to_the_left_straight_and_to_the_right_of_the_direction():
    # From the middle of the lake: up slips to left and right, right slips to up and down.
    middle = State(inside_of(6)[9])
    for command, cells in (("up", (8, 5, 10)), ("right", (5, 10, 13))):
        ends = [SLIPPERY.arrived(middle, command, slip).player for slip in (-1, 0, 1)]
        assert ends == [inside_of(6)[cell] for cell in cells]
    # Whoever slips towards the shore stays.
    assert SLIPPERY.arrived(State(SLIPPERY.start), "right", -1).player == SLIPPERY.start


def test_slips_are_equally_frequent_and_depend_on_nothing_but_the_time():
    found: Counter[int] = Counter()
    for seed, time in product(range(30), range(100)):
        lake = lake_of("____", "_P__", "____", "___G", slips=seed)
        state = State(lake.start, time=time)
        after = lake.after(state, "up")
        assert after is not None and after == lake.after(state, "up") and after.time == time + 1
        found[after.player - lake.start] += 1
    # 3000 draws, 1000 of each expected; the standard deviation is 26.
    assert sorted(found) == [-6, -1, 1] and all(abs(count - 1000) < 4 * 26 for count in found.values())


def test_the_expert_on_slippery_ice_keeps_away_from_holes():
    # Walking right along the hole falls in one of three steps. Walking up slips right, left, or not at all.
    lake = lake_of("____", "P__G", "OOO_", "____", slips=0)
    assert next_command(lake, State(lake.start)) == "up"
    assert next_command(lake_of("____", "P__G", "OOO_", "____"), State(lake.start)) == "right"


def values_by_linear_algebra(lake: Lake) -> dict[State, float]:
    """The value of following the expert: v = γ P v + γ P 1[won], solved exactly."""
    states = [State(cell) for cell in inside_of(lake.width) if lake.outcome(State(cell)) == "playing"]
    number = {state: row for row, state in enumerate(states)}
    system, wins = np.eye(len(states)), np.zeros(len(states))
    for state, row in number.items():
        if (command := next_command(lake, state)) is not None:
            for slip in (-1, 0, 1):
                after = lake.arrived(state, command, slip)
                if after in number:
                    system[row, number[after]] -= DISCOUNT / 3
                wins[row] += DISCOUNT / 3 * (lake.outcome(after) == "won")
    return dict(zip(states, np.linalg.solve(system, wins), strict=True))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_no_other_command_is_better_than_the_expert_s(seed):
    # Bellman's optimality: one other step, followed by the expert, is worth at most as much.
    lake = draw_lake(random.Random(seed), 4, 20, slippery=True, key=False)
    value = values_by_linear_algebra(lake)
    for state, worth in value.items():
        for command in lake.commands(state):
            after = [lake.arrived(state, command, slip) for slip in (-1, 0, 1)]
            other = [value.get(each, float(lake.outcome(each) == "won")) for each in after]
            assert DISCOUNT * sum(other) / 3 <= worth + 1e-4


def test_the_best_success_on_slippery_ice_by_hand():
    # From the corner, "right" leads to the goal, stays at the shore, or leads down, each in one of three cases.
    # Two steps: 1/3 (1 + V₁(corner) + V₁(below)) = 1/3 (1 + 1/3 + 0), as the goal is not next to the cell below.
    lake = lake_of("PG__", "____", "____", "____", slips=0)
    assert [best_success(lake, most) for most in (0, 1, 2)] == pytest.approx([0, 1 / 3, 4 / 9])
    # Without slips, whoever has enough steps wins.
    lake = lake_of("P_G_", "____", "____", "____")
    assert [best_success(lake, most) for most in (1, 2, 3)] == [0, 1, 1]


def success_of(lake: Lake, policy: dict[tuple[State, int], str], state: State, left: int) -> float:
    """The probability to win with a policy that may depend on the steps that are left."""
    if lake.outcome(state) != "playing" or not left:
        return float(lake.outcome(state) == "won")
    after = [lake.arrived(state, policy[state, left], slip) for slip in (-1, 0, 1)]
    return sum(success_of(lake, policy, each, left - 1) for each in after) / 3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_no_policy_succeeds_more_often_than_the_best(seed):
    rng = random.Random(seed)
    lake = draw_lake(rng, 4, 10, slippery=True, key=False)
    left, best = 6, best_success(lake, 6)
    choices = [
        (State(cell), steps, lake.commands(State(cell)))
        for cell in inside_of(lake.width)
        for steps in range(1, left + 1)
    ]
    policy = {(state, steps): rng.choice(commands) for state, steps, commands in choices}
    start = State(lake.start)
    assert success_of(lake, policy, start, left) <= best + 1e-12
    # Improved choice by choice, from the end to the start, the policy becomes the best one.
    for state, steps, commands in sorted(choices, key=lambda choice: choice[1]):
        policy[state, steps] = max(
            commands,
            key=lambda command: success_of(lake, {**policy, (state, steps): command}, state, steps),
        )
    assert success_of(lake, policy, start, left) == pytest.approx(best)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 9), st.booleans())
def test_lakes_can_be_crossed_in_the_fewest_steps_by_the_expert(seed, size, key):
    most = 3 * size
    lake = draw_lake(random.Random(seed), size, most, slippery=False, key=key)
    way = walk(lake, State(lake.start), most)
    assert way is not None and way == (foreseen(lake, State(lake.start), most) if len(way) < 2 else way)
    # With a key there are two more steps, to the key and back.
    assert len(way) == way_from_start(lake) + 2 * key == len(foreseen(lake, State(lake.start), most) or ())
    assert len(way) >= size - 1 or key
    assert (lake.door is not None) == key
    if lake.door is not None:
        # Without the door's cell the goal is out of reach: nobody gets around the door.
        free = inside_set(lake.width) & ~lake.holes & ~as_set([lake.door or 0])
        assert distance(lake.start, lake.goal, free, lake.width) is None


def test_someone_who_knows_the_slips_wins_where_the_expert_slips():
    suite = FrozenLakeSuite(slippery=True)
    tasks = suite.tasks("held_out", 60)
    starts = [(task.game, State(task.game.start)) for task in tasks]
    lost = [walk(lake, start, 15) is None for lake, start in starts]
    assert 0.3 < np.mean(lost) < 0.95
    assert all(foreseen(lake, start, 15) for lake, start in starts)


def fork_of(lake: Lake) -> int:
    """The only cell next to the start that is no hole."""
    start = State(lake.start)
    around = [lake.arrived(start, command, 0).player for command in lake.commands(start)]
    (fork,) = (cell for cell in around if not lake.holes >> cell & 1)
    return fork


def success(at_fork: dict[str, float], lake: Lake, most: int) -> float:
    """The probability to win for somebody who does the same at the fork each time, and else walks on.

    Computed step by step over the distribution of states: back to the fork from the start and from the key,
    and as the expert does beyond the door.
    """
    fork = fork_of(lake)
    at, won = {State(lake.start): 1.0}, 0.0
    for _ in range(most):
        following: dict[State, float] = defaultdict(float)
        for state, share in at.items():
            if state.player == fork:
                choices = at_fork
            elif state.player in (lake.start, lake.key):
                choices = {toward(lake, state.player, fork): 1.0}
            else:
                choices = {next_command(lake, state) or "": 1.0}
            for command, probability in choices.items():
                after = lake.arrived(state, command, 0)
                if lake.outcome(after) == "playing":
                    following[after] += share * probability
                won += share * probability * (lake.outcome(after) == "won")
        at = following
    return won


def toward(lake: Lake, cell: int, to: int) -> str:
    return next(c for c in CLOCKWISE if lake.arrived(State(cell), c, 0).player == to)


@pytest.mark.parametrize("number", range(3))
def test_the_value_of_remembering_is_exact(number):
    suite = FrozenLakeSuite(hidden_key=True)
    task = suite.tasks("held_out", 3)[number]
    lake, most = task.game, suite.max_steps
    fork = fork_of(lake)
    to_key, to_door, back = (toward(lake, fork, cell) for cell in (lake.key, lake.door, lake.start))
    # All ways to act at the fork, in steps of 5 %: go for the key, through the door, or back to the start.
    grid = [(p / 20, q / 20) for p in range(21) for q in range(21 - p)]
    best = max(success({to_key: p, to_door: q, back: 1 - p - q}, lake, most) for p, q in grid)
    exact = suite.success_without_memory(task)
    assert best <= exact + 1e-12 and exact - best < 0.01
    # At the p of the formula, p^n = 1 / (n + 1), it is reached.
    times = (most - 1 - (way_from_start(lake) - 1)) // 2
    p = (times + 1) ** (-1 / times)
    assert success({to_key: p, to_door: 1 - p}, lake, most) == pytest.approx(exact, abs=1e-12)
    # Whoever remembers wins.
    assert walk(lake, State(lake.start), most) is not None


@pytest.mark.parametrize(
    ("steps", "way", "expected"),
    [
        # Five steps suffice once: p (1 − p) is largest for p = 1/2.
        (5, 2, 0.25),
        (6, 2, 0.25),
        # Seven allow one visit of the key in vain: p (1 − p²) is largest for p = 1/√3.
        (7, 2, 2 / (3 * 3**0.5)),
        (4, 2, 0.0),
    ],
)
def test_success_without_memory_by_hand(steps, way, expected):
    assert success_without_memory(steps, way) == pytest.approx(expected)


def test_only_lakes_with_a_key_have_something_to_remember():
    suite = FrozenLakeSuite()
    with pytest.raises(SettingError, match="the lake has no key"):
        suite.success_without_memory(suite.tasks("train", 1)[0])


@pytest.mark.parametrize("kind", [{}, {"slippery": True}, {"hidden_key": True}])
def test_readings_cross_lakes_that_are_not_held_out(kind):
    suite = FrozenLakeSuite(**kind)
    readings = list(suite.readings(60, seed=0))
    assert len(readings) >= 5
    for reading in readings:
        *before, last = (step.after.info.won for step in reading.steps)
        assert last and not any(before)
        assert not is_held_out(suite.identity(reading.task.game))
