"""Search QA as a benchmark: its corpus, questions and splits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from hgpo.envs.base import Task
from hgpo.envs.drawing import choose_tasks, drawn_in_rounds
from hgpo.envs.generated import HELD_OUT, SPLITS, TRAIN, GeneratedSuite, is_held_out
from hgpo.envs.rules import NOTHING_HAPPENS
from hgpo.envs.search_qa.encyclopaedia import Article, Question, made_up
from hgpo.envs.search_qa.files import read_articles, read_questions
from hgpo.envs.search_qa.game import (
    COMMANDS,
    NOTHING_FOUND,
    OPENING,
    RIGHT,
    WRONG,
    QuestionGame,
    State,
)
from hgpo.envs.search_qa.index import ArticleIndex
from hgpo.envs.setting_checks import require_range
from hgpo.errors import SettingError

OWN = "question"
"""The task type of the user's own questions."""


@dataclass(frozen=True)
class SearchQASuite(GeneratedSuite):
    """Search QA: answer a question by searching an encyclopaedia; made up, or the user's own."""

    name: ClassVar[str] = "search_qa"
    max_steps: int = 6
    """An episode is truncated after this many commands."""
    hops: int = 2
    """Largest number of articles that a question takes, 1 to 3; questions of the split "larger" take one
    more."""
    articles: int = 120
    """Number of articles of the made-up encyclopaedia."""
    corpus_seed: int = 0
    """Seed of the encyclopaedia: the same for all who are to be compared."""
    results: int = 1
    """Number of articles that a search shows."""
    corpus: str | None = None
    """File of your own articles, {"title": …, "text": …} in each line; needs --env.questions."""
    questions: str | None = None
    """File of your own questions, {"question": …, "answers": […]} in each line; needs --env.corpus. A
    checksum holds out a quarter of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "hops", 1, 3)
        require_range(self, "articles", 20, 100_000)
        require_range(self, "results", 1)
        if (self.corpus is None) != (self.questions is None):
            given, missing = ("corpus", "questions") if self.questions is None else ("questions", "corpus")
            raise SettingError(f"--env.{given} needs --env.{missing}: questions and articles go together")
        if self.corpus is None:
            # Every article of the longest chain is searched for, then comes the answer.
            require_range(self, "max_steps", self.hops + 2)

    @property
    def splits(self) -> tuple[str, ...]:
        """Training, held-out questions, and ones that take more articles; the user's own have no such."""
        return SPLITS if self.questions is None else (TRAIN, HELD_OUT)

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        """`count` tasks of a split; of the user's own questions, training repeats none while they last."""
        if self.questions is None:
            return super().tasks(split, count, seed)
        own = _own_tasks(self.questions)
        return choose_tasks(
            split,
            self.splits,
            count,
            draw=lambda wanted: drawn_in_rounds(own[TRAIN], wanted, random.Random(f"search_qa {seed}")),
            fixed=lambda: own[HELD_OUT],
        )

    def draw(self, rng: random.Random, larger: bool) -> Question:
        """A question of up to as many articles as the settings say, or of one more."""
        hops = self.hops + 1 if larger else rng.randint(1, self.hops)
        return made_up(self.articles, self.corpus_seed).draw(rng, hops)

    def identity(self, drawn: Question) -> str:
        """The question."""
        return drawn.text

    def kind(self, drawn: Question) -> str:
        """The number of articles that it takes."""
        return f"{len(drawn.searches)} {'hop' if len(drawn.searches) == 1 else 'hops'}"

    def instruction(self, drawn: Question) -> str:
        """The question."""
        return drawn.text

    def game(self, task: Task) -> QuestionGame:
        """The task's question, with the search."""
        return QuestionGame(
            task.game, _index(self.corpus, self.articles, self.corpus_seed).search, self.results
        )

    def solution(self, task: Task, state: State) -> tuple[str, ...] | None:
        """Search for the articles that lead to the answer, and answer; None if they are not known."""
        question: Question = task.game
        if state or not question.searches:
            return () if question.searches else None
        return *(f"search[{title}]" for title in question.searches), f"answer[{question.answers[0]}]"

    def next_command(self, task: Task, commands: Sequence[str]) -> str | None:
        """The first search of the expert's that has not been made, or the answer."""
        solution = self.solution(task, "")
        return next((command for command in solution or () if command not in commands), None)

    def texts(self) -> Iterator[str]:
        """All articles and questions, and what is said."""
        yield from (NOTHING_HAPPENS, *COMMANDS, OPENING, NOTHING_FOUND, RIGHT, WRONG)
        if self.questions is None:
            yield "what is the of ?"
        else:
            for question in read_questions(self.questions):
                yield from (question.text, *question.answers)
        yield from map(str, _articles(self.corpus, self.articles, self.corpus_seed))


def _articles(corpus: str | None, size: int, seed: int) -> tuple[Article, ...]:
    return made_up(size, seed).articles if corpus is None else read_articles(corpus)


@lru_cache(2)
def _index(corpus: str | None, size: int, seed: int) -> ArticleIndex:
    """The search in an encyclopaedia, indexed once per process."""
    return ArticleIndex(_articles(corpus, size, seed))


@lru_cache(2)
def _own_tasks(path: str) -> dict[str, tuple[Task, ...]]:
    """The tasks of a file of questions, by split."""
    tasks: dict[str, list[Task]] = {TRAIN: [], HELD_OUT: []}
    for number, question in enumerate(read_questions(path)):
        split = HELD_OUT if is_held_out(question.text) else TRAIN
        tasks[split].append(Task(f"{split}/{number}", OWN, question.text, question))
    return {split: tuple(of) for split, of in tasks.items()}
