"""Sokoban: moves and pushes, levels that can be solved, and the fewest moves."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_games import after, fewest

from hgpo.envs import SokobanSuite
from hgpo.envs.generated import is_held_out
from hgpo.envs.grids import as_set, cells, inside_of, reachable
from hgpo.envs.sokoban.level import Level, State, draw_level
from hgpo.envs.sokoban.solver import pushes_needed, solve
from hgpo.envs.sokoban.suite import FORMS, SokobanGame


def level_of(*rows: str) -> Level:
    """The level that a grid shows, with one sign per cell."""
    signs = "".join(rows)
    bits = {sign: as_set(cell for cell, of in enumerate(signs) if of == sign) for sign in "#OX√PS"}
    return Level(
        len(rows),
        walls=bits["#"],
        targets=bits["O"] | bits["√"] | bits["S"],
        boxes=bits["X"] | bits["√"],
        player=next(cells(bits["P"] | bits["S"])),
    )


def shown(level: Level, state: State | None = None) -> list[str]:
    """The grid as rows without spaces."""
    game = SokobanGame(level, "grid")
    return game.look(state or game.start()).replace(" ", "").split("\n")


CORRIDOR = ("#####", "#PXO#", "#___#", "#___#", "#####")


def test_a_box_is_pushed_onto_the_target():
    game = SokobanGame(level_of(*CORRIDOR), "grid")
    assert shown(game.level) == list(CORRIDOR)
    assert game.commands(game.start()) == ("down", "right")
    state, said = after(game, game.start(), "right")
    assert said == "" and shown(game.level, state)[1] == "#_P√#"
    assert game.outcome(state) == "won" and game.score(state) == 1.0
    assert (game.outcome(game.start()), game.score(game.start())) == ("playing", 0.0)


def test_two_boxes_in_a_row_and_walls_are_not_pushed():
    # The player is between a wall above, a box before a wall on the left and two boxes on the right.
    game = SokobanGame(
        level_of("#######", "#XPXX_#", "#_____#", "#OO_O_#", "#_____#", "#_____#", "#######"), "grid"
    )
    assert game.commands(game.start()) == ("down",)
    assert game.after(game.start(), "right") is None and game.after(game.start(), "jump") is None


def test_a_box_leaves_a_target_and_the_player_stands_on_it():
    game = SokobanGame(level_of("#####", "#P√_#", "#_O_#", "#_X_#", "#####"), "grid")
    assert game.score(game.start()) == 0.5
    state, _ = after(game, game.start(), "right")
    assert shown(game.level, state) == ["#####", "#_SX#", "#_O_#", "#_X_#", "#####"]
    assert game.score(state) == 0.0


def test_the_fewest_moves_of_a_level_by_hand():
    # The box in row 2 has to be pushed up, so the player walks around it: down, right, then up.
    level = level_of("#####", "#_O_#", "#PX_#", "#___#", "#####")
    assert solve(level, (level.player, level.boxes)) == ("down", "right", "up")
    # In a corner it is lost.
    lost = level_of("#####", "#_O_#", "#P__#", "#__X#", "#####")
    assert solve(lost, (lost.player, lost.boxes)) is None
    # From a wall without a target no push brings it away; row 1 has the target. Cells by row and column.
    needed = {divmod(cell, 5): pushes for cell, pushes in pushes_needed(lost).items()}
    assert needed == {(1, 2): 0, (2, 2): 1}


def test_coordinates_say_the_same_as_the_grid():
    level = level_of("#####", "#P__#", "#_X##", "#__O#", "#####")
    assert FORMS["coordinates"](level, (level.player, level.boxes)) == (
        "boxes: 1 down 1 right.\ntargets: 2 down 2 right.\nwalls: 1 down 2 right."
    )
    away = 17, level.boxes
    assert (
        FORMS["coordinates"](level, away)
        == "boxes: 1 up 0 right.\ntargets: 0 down 1 right.\nwalls: 1 up 1 right."
    )


SIZES = st.tuples(st.integers(0, 10**6), st.integers(5, 8), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_levels_are_whole_and_start_unsolved(drawn):
    seed, size, boxes = drawn
    level = draw_level(random.Random(seed), size, boxes, 20)
    free = as_set(inside_of(size)) & ~level.walls
    assert level.targets.bit_count() == level.boxes.bit_count() == boxes
    assert (level.targets | level.boxes | 1 << level.player) & ~free == 0
    assert not level.targets & level.boxes and not level.boxes >> level.player & 1
    assert reachable(level.player, free, size) == free
    border = as_set(range(size**2)) & ~as_set(inside_of(size))
    assert border & ~level.walls == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.sampled_from(["up", "down", "left", "right"]), max_size=30))
def test_moves_keep_the_boxes_and_never_enter_a_wall(seed, commands):
    game = SokobanGame(draw_level(random.Random(seed), 6, 2, 20), "grid")
    state = game.start()
    for command in commands:
        found = game.after(state, command)
        assert (found is not None) == (command in game.commands(state))
        if found is not None:
            player, boxes = found[0]
            assert boxes.bit_count() == 2 and not (boxes | game.level.walls) >> player & 1
            assert not boxes & game.level.walls
            # A grid shows all there is: it can be read back.
            read = level_of(*shown(game.level, found[0]))
            assert (read.player, read.boxes, read.targets, read.walls) == (
                player,
                boxes,
                game.level.targets,
                game.level.walls,
            )
            state = found[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 8), st.integers(1, 3))
def test_solutions_fit_into_the_step_limit(seed, size, boxes):
    # The least limit that a suite allows.
    level = draw_level(random.Random(seed), size, boxes, 5 * boxes)
    assert 2 <= len(solve(level, (level.player, level.boxes)) or ()) <= 5 * boxes


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_no_solution_is_shorter_than_the_expert_s(seed):
    level = draw_level(random.Random(seed), 6, 2, 30)
    game, start = SokobanGame(level, "grid"), (level.player, level.boxes)
    solution = solve(level, start)
    assert solution is not None and len(solution) == fewest(game, start, game.commands)
    # Also from where random play leads, which may be beyond hope.
    rng, state = random.Random(seed), start
    for _ in range(6):
        if game.outcome(state) == "playing":
            state = after(game, state, rng.choice(game.commands(state)))[0]
    found = solve(level, state)
    assert (None if found is None else len(found)) == fewest(game, state, game.commands)


@pytest.mark.parametrize("suite", [SokobanSuite(), SokobanSuite(size=6, boxes=2)])
def test_readings_solve_levels_that_are_not_held_out(suite):
    readings = list(suite.readings(60, seed=0))
    assert len(readings) >= 10
    for reading in readings:
        *before, last = (step.after.info.won for step in reading.steps)
        assert last and not any(before)
        assert not is_held_out(suite.identity(reading.task.game))
        # Nothing is visited twice.
        seen = [reading.steps[0].before.observation, *(step.after.observation for step in reading.steps)]
        assert len(set(seen)) == len(seen)
