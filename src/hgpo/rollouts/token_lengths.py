"""Lengths in tokens of an environment's prompts and answers, measured on random play of a few tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from hgpo.envs.base import Task, TaskSuite
from hgpo.envs.commands import fill, random_command
from hgpo.envs.episode import TimeStep, play_episode
from hgpo.envs.faults import checked
from hgpo.errors import SettingError, in_one_line
from hgpo.rollouts.episodes import turn_at
from hgpo.rollouts.prompts import ResponseFormat, Turn


def random_turns(suite: TaskSuite, tasks: Sequence[Task], rng: np.random.Generator) -> list[Turn]:
    """The turns of random play, without history: one episode per task, which ends if its environment fails.

    Raises:
        SettingError: if every environment fails before it shows anything.
    """
    turns: list[Turn] = []

    def choose(task: Task, now: TimeStep) -> str:
        turns.append(turn_at(task, (), checked(now), prompt_history=0))
        return random_command(turns[-1].commands, task.instruction, rng)

    environment = suite.make()
    failure: BaseException | None = None
    for task in tasks:
        try:
            for _ in play_episode(environment, task, partial(choose, task)):
                pass
        except SettingError:
            raise
        # Also SystemExit, as in a rollout.
        except (Exception, SystemExit) as error:
            failure = error
    if failure is not None and not turns:
        why = in_one_line(failure)
        raise SettingError(f"the environment fails at once: {why}; see hgpo env check") from failure
    return turns


def answer_tokens_needed(
    turns: Sequence[Turn],
    encode_answer: Callable[[str], Sequence[int]],
    response_format: ResponseFormat,
) -> int:
    """Number of tokens of the longest possible answer in these turns, plus 4 if it is more than one token."""
    longest = 1
    for turn in turns:
        for command in _given(turn):
            answer = response_format.answer(command, turn.commands)
            longest = max(longest, len(encode_answer(answer)))
    return longest if longest == 1 else longest + 4


def prompt_tokens_needed(
    turns: Sequence[Turn],
    encode: Callable[[Sequence[str]], list[tuple[int, ...]]],
    response_format: ResponseFormat,
    prompt_history: int,
) -> int:
    """Number of tokens of a prompt with the longest turn and `prompt_history` copies of the longest step."""
    now = [replace(turn, instruction="") for turn in turns]
    past = [Turn("", ((turn.observation, max(_given(turn), key=len)),), "", ()) for turn in turns]
    longest_now, longest_step = (
        max((len(tokens) for tokens in encode([response_format.prompt(turn) for turn in shown])), default=0)
        for shown in (now, past)
    )
    return longest_now + prompt_history * longest_step


def _given(turn: Turn) -> list[str]:
    """The commands as an agent may give them; a command that takes words gets the whole instruction."""
    return [fill(command, turn.instruction) for command in turn.commands]
