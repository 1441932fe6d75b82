"""The game of one question: searches, and an answer that ends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hgpo.envs.commands import WORDS
from hgpo.envs.rules import Outcome
from hgpo.envs.search_qa.encyclopaedia import Article, Question
from hgpo.envs.search_qa.scoring import exact_match, f1

COMMANDS = (f"search[{WORDS}]", f"answer[{WORDS}]")
OPENING, NOTHING_FOUND = "nothing has been searched yet.", "nothing is found."
RIGHT, WRONG = "the answer is right.", "the answer is wrong."
NEARLY_RIGHT = 0.99
"""Highest score of an answer that is not an exact match, such as the right words in another order."""

_COMMAND = re.compile(r"(search|answer)\[(.+)\]", re.DOTALL)

State = str
"""The answer; empty before there is one. Searches change nothing but what was said last."""


@dataclass(frozen=True)
class QuestionGame:
    """The game of one question."""

    question: Question
    search: Callable[[str, int], tuple[Article, ...]]
    """Returns the articles that match some words best, at most a number of them."""
    results: int
    """Number of articles that a search shows."""

    def start(self) -> State:
        """No answer yet."""
        return ""

    def opening(self) -> str:
        """That there are no results yet."""
        return OPENING

    def look(self, state: State) -> str:
        """Nothing: results are what is said to a search."""
        return ""

    def commands(self, state: State) -> tuple[str, ...]:
        """To search, and to answer."""
        return COMMANDS

    def after(self, state: State, command: str) -> tuple[State, str] | None:
        """The state after a command, and the results of a search; None if it is neither search nor answer."""
        read = _COMMAND.fullmatch(command)
        words = read[2].strip() if read else ""
        if read is None or not words:
            return None
        if read[1] == "search":
            return state, "\n".join(map(str, self.search(words, self.results))) or NOTHING_FOUND
        return words, RIGHT if exact_match(words, self.question.answers) else WRONG

    def outcome(self, state: State) -> Outcome:
        """Won with an exact match, lost with any other answer."""
        if not state:
            return "playing"
        return "won" if exact_match(state, self.question.answers) else "lost"

    def score(self, state: State) -> float:
        """The F1 of the answer; 1 only if it is an exact match."""
        exact = exact_match(state, self.question.answers)
        return 1.0 if exact else min(f1(state, self.question.answers), NEARLY_RIGHT)
