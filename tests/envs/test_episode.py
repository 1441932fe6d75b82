"""The loop over one episode, on the toy game."""

from __future__ import annotations

from toy import ToySuite, toy_task

from hgpo.envs.episode import TimeStep, advance, begin, play_episode

SUITE = ToySuite()
TASK = toy_task("attic", "hall")
WAY = ("go to attic", "take coin", "go to hall", "drop coin")


def test_each_transition_begins_where_the_one_before_it_ended():
    # Only the last command is rewarded, with 10, and ends it.
    commands = iter(WAY)
    played = list(play_episode(SUITE.make(), TASK, lambda now: next(commands)))
    assert tuple(step.command for step in played) == WAY
    assert played[0].before == begin(SUITE.make(), TASK)
    assert [step.before for step in played[1:]] == [step.after for step in played[:-1]]
    assert [step.after.reward for step in played] == [0.0, 0.0, 0.0, 10.0]
    assert [step.after.over for step in played] == [False, False, False, True]


def test_the_loop_gives_what_single_calls_give():
    environment = SUITE.make()
    begin(environment, TASK)
    commands = iter(WAY)
    played = play_episode(SUITE.make(), TASK, lambda now: next(commands))
    assert [step.after for step in played] == [advance(environment, command) for command in WAY]


def test_none_leaves_the_episode_where_it_stands():
    seen: list[TimeStep] = []

    def choose(now: TimeStep) -> str | None:
        seen.append(now)
        return WAY[0] if len(seen) == 1 else None

    (only,) = play_episode(SUITE.make(), TASK, choose)
    assert seen == [only.before, only.after] and not only.after.over
