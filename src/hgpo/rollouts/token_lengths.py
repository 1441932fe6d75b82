"""How many tokens a suite's prompts and answers take, measured on random play of a few games."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hgpo.envs.base import Task, TaskSuite
from hgpo.envs.commands import fill, filled_by_chance
from hgpo.errors import SettingError
from hgpo.rollouts.prompts import ResponseFormat, Turn


@dataclass(frozen=True)
class ProbeTurn:
    """What an agent would see at one step."""

    observation: str
    commands: tuple[str, ...]
    instruction: str = ""

    @property
    def given(self) -> list[str]:
        """The commands as they may be given; one that takes words, with all of the instruction's."""
        return [fill(command, self.instruction) for command in self.commands]


def random_turns(suite: TaskSuite, tasks: Sequence[Task], rng: np.random.Generator) -> list[ProbeTurn]:
    """The turns of random play, each task once; an episode ends where its environment fails.

    Raises:
        SettingError: if no episode comes so far as to be seen.
    """
    turns: list[ProbeTurn] = []
    environment = suite.make()
    failure: Exception | None = None
    for task in tasks:
        try:
            observation, info = environment.reset(task)
            over = False
            while not over:
                turns.append(ProbeTurn(observation, info.admissible_commands, task.instruction))
                command = info.admissible_commands[rng.integers(len(info.admissible_commands))]
                command = filled_by_chance(command, task.instruction, rng.random)
                observation, _, terminated, truncated, info = environment.step(command)
                over = terminated or truncated
        except SettingError:
            raise
        except Exception as error:
            failure = error
    if failure is not None and not turns:
        raise SettingError(
            f"the environment fails at once with {type(failure).__name__}: {failure}; see hgpo env check"
        ) from failure
    return turns


def answer_tokens_needed(
    turns: Sequence[ProbeTurn],
    encode_answer: Callable[[str], Sequence[int]],
    response_format: ResponseFormat,
) -> int:
    """Tokens of the longest answer among the turns' commands; an end token where there are several."""
    longest = 1
    for turn in turns:
        for command in turn.given:
            answer = response_format.answer(command, turn.commands)
            longest = max(longest, len(encode_answer(answer)))
    return longest if longest == 1 else longest + 4


def prompt_tokens_needed(
    turns: Sequence[ProbeTurn],
    encode: Callable[[Sequence[str]], list[tuple[int, ...]]],
    response_format: ResponseFormat,
    history_length: int,
) -> int:
    """Tokens of a prompt in which the longest turn stands after so many of the longest steps."""
    now = [Turn("", (), turn.observation, turn.commands) for turn in turns]
    past = [Turn("", ((turn.observation, max(turn.given, key=len)),), "", ()) for turn in turns]
    longest_now, longest_step = (
        max((len(tokens) for tokens in encode([response_format.prompt(turn) for turn in shown])), default=0)
        for shown in (now, past)
    )
    return longest_now + history_length * longest_step
