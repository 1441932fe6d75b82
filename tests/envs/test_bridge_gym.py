"""Gymnasium's environments as text: what is shown, what counts, and what is refused."""

from __future__ import annotations

from collections import Counter
from textwrap import dedent

import pytest

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("minigrid", reason="MiniGrid is missing: pip install 'hgpo[gym]'")

from minigrid.core.world_object import Ball, Box, Door, Key, Wall  # noqa: E402

from hgpo.envs.bridges import GymSuite  # noqa: E402
from hgpo.envs.bridges.minigrid import MiniGridView  # noqa: E402
from hgpo.envs.bridges.seeds import HELD_OUT_SEEDS  # noqa: E402
from hgpo.envs.checker import check  # noqa: E402
from hgpo.errors import SettingError  # noqa: E402


def empty_room():
    """A room of 6 × 6 cells within walls, the agent in the middle of its left half, looking right."""
    env = gymnasium.make("MiniGrid-Empty-8x8-v0", disable_env_checker=True)
    env.reset(seed=0)
    world = env.unwrapped
    world.agent_pos, world.agent_dir = (2, 4), 0
    world.grid.set(6, 6, None)
    return env


def shown(env):
    return MiniGridView().text(env, env.unwrapped.gen_obs())


def test_the_room_is_told_from_where_the_agent_stands():
    # The agent at (2, 4) looks to the right, so x + 1 is one ahead and y + 1 is one to its right.
    # The wall at x = 7 is 7 − 2 = 5 ahead.
    env = empty_room()
    grid = env.unwrapped.grid
    assert shown(env) == "a wall 5 ahead. you carry nothing."
    grid.set(4, 3, Ball("red"))
    grid.set(3, 4, Door("blue", is_locked=True))
    grid.set(2, 6, Key("yellow"))
    env.unwrapped.carrying = Box("purple")
    # Sums of distances: door 1, key 2, ball 2 + 1 = 3. The door hides the wall behind it.
    assert shown(env).startswith(
        "a locked blue door 1 ahead; a yellow key 2 right; a red ball 2 ahead 1 left"
    )
    assert shown(env).endswith("you carry a purple box.")


def test_of_the_walls_in_front_only_the_nearest_is_told():
    env = empty_room()
    env.unwrapped.grid.set(4, 4, Wall())
    assert shown(env) == "a wall 2 ahead. you carry nothing."


def test_the_full_state_tells_what_the_text_does_not():
    # A ball behind the agent is not seen, nor what a closed box contains.
    env, view = empty_room(), MiniGridView()
    before, text = view.full_state(env, None), shown(env)
    env.unwrapped.grid.set(1, 4, Ball("red"))
    ball = view.full_state(env, None)
    env.unwrapped.grid.set(1, 4, Box("red"))
    box = view.full_state(env, None)
    env.unwrapped.grid.set(1, 4, Box("red", contains=Key("red")))
    filled = view.full_state(env, None)
    assert shown(env) == text
    assert len({before, ball, box, filled}) == 4


def test_the_full_state_tells_which_part_of_a_mission_is_done():
    # "Go to A and go to B after you …": with A done, the same place on the grid is another state.
    env = gymnasium.make("BabyAI-GoToSeqS5R2-v0", disable_env_checker=True)
    view = MiniGridView()
    env.reset(seed=1)
    before = view.full_state(env, None)
    env.unwrapped.instrs.instr_a.a_done = "success"
    assert view.full_state(env, None) != before


@pytest.mark.parametrize(
    "suite",
    [
        GymSuite(held_out=2),
        # Walkthroughs of more than 12 steps are left out.
        GymSuite("BabyAI-UnlockLocal-v0", held_out=2, max_steps=12, state_key="full_state"),
        GymSuite("Taxi-v4", view="rendered", held_out=2, max_steps=12),
        # Its ice is slippery: the same step leads to different places.
        GymSuite("FrozenLake-v1", view="rendered", held_out=2, max_steps=12, state_key="full_state"),
    ],
)
def test_the_contract_holds(suite, capsys):
    assert check(suite, games=2, seed=0).problems == ()
    assert capsys.readouterr().out == ""


def test_a_win_is_worth_ten_however_late_and_the_bot_wins():
    # MiniGrid's own reward is 1 − 0.9 t / T.
    suite = GymSuite()
    for task in suite.tasks("held_out", 3):
        commands = suite.walkthrough(task)
        assert commands
        environment = suite.make()
        environment.reset(task)
        steps = [environment.step(command) for command in ("turn left", "turn right", *commands)]
        assert [reward for _, reward, *_ in steps] == [0.0] * (len(steps) - 1) + [10.0]
        assert steps[-1][2] and steps[-1][4].won and steps[-1][4].admissible_commands == ()


def test_training_and_held_out_tasks_are_different_seeds():
    suite = GymSuite(held_out=3)
    assert [task.game for task in suite.tasks("held_out")] == [HELD_OUT_SEEDS + number for number in range(3)]
    drawn = [task.game for task in suite.tasks("train", 30, seed=1)]
    assert max(drawn) < HELD_OUT_SEEDS and max(Counter(drawn).values()) == 1
    assert drawn == [task.game for task in suite.tasks("train", 30, seed=1)]
    assert drawn != [task.game for task in suite.tasks("train", 30, seed=2)]


def test_an_episode_is_truncated_after_max_steps_and_unknown_commands_change_nothing():
    suite = GymSuite(max_steps=2)
    environment = suite.make()
    text, info = environment.reset(suite.tasks("held_out", 1)[0])
    again, reward, ended, truncated, after = environment.step("dance")
    assert again.endswith(text) and after.state_keys == info.state_keys
    assert (reward, ended, truncated) == (0.0, False, False)
    assert environment.step("turn left")[2:4] == (False, True)


def test_a_fork_goes_its_own_way():
    suite = GymSuite()
    environment = suite.make()
    _, info = environment.reset(suite.tasks("held_out", 1)[0])
    twin = environment.fork()
    environment.step("turn left")
    # Right and left again is where both began.
    twin.step("turn right")
    assert twin.step("turn left")[4].state_keys == info.state_keys


def test_a_view_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "views.py").write_text(
        dedent(
            """
            from hgpo.envs.bridges.gym_views import RenderedView

            class Taxi(RenderedView):
                def actions(self, env):
                    return ["south", "north", "east", "west", "pick up", "drop off"]

                def text(self, env, observation):
                    row, column, passenger, goal = env.unwrapped.decode(observation)
                    return f"taxi at {row}, {column}; passenger {passenger}; goal {goal}"
            """
        )
    )
    suite = GymSuite("Taxi-v4", view=f"{tmp_path / 'views.py'}:Taxi")
    environment = suite.make()
    text, info = environment.reset(suite.tasks("held_out", 1)[0])
    assert text.startswith("taxi at ") and info.admissible_commands[4] == "pick up"
    # Each move costs Taxi's own 1, times the scale of 10.
    assert environment.step("south")[1] == -10.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"id": "Nope-v1"}, "--env.id Nope-v1: Environment `Nope` doesn't exist"),
        ({"id": "Pendulum-v1", "view": "rendered"}, "expected Discrete"),
        ({"id": "CartPole-v1", "view": "rendered"}, "CartPole-v1 prints no text"),
        ({"id": "Taxi-v4"}, "--env.view minigrid shows environments of MiniGrid, and Taxi-v4 is none"),
        ({"view": "nice"}, "--env.view nice: choose from minigrid, rendered"),
        ({"view": "hgpo.errors:SettingError"}, "has no actions, instruction, text"),
        ({"view": "hgpo.envs.bridges.gym:GymEnvironment"}, "cannot be made: TypeError"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(settings, words):
    with pytest.raises(SettingError) as refused:
        GymSuite(**settings).tasks("train", 1)
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("settings", [{"held_out": 0}, {"max_steps": 0}, {"state_key": "picture"}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(SettingError, match="--env"):
        GymSuite(**settings)
