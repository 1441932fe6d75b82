"""The user's own corpus and questions: JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hgpo.envs.search_qa.encyclopaedia import Article, Question
from hgpo.errors import SettingError

T = TypeVar("T")


def read_articles(path: str) -> tuple[Article, ...]:
    """The articles of a file with {"title": …, "text": …} in each line.

    Raises:
        SettingError: if the file cannot be read, or a line is something else.
    """
    return _read(
        path, '{"title": "…", "text": "…"}', lambda line: Article(_text(line["title"]), _text(line["text"]))
    )


def read_questions(path: str) -> tuple[Question, ...]:
    """The questions of a file with {"question": …, "answers": […]} in each line.

    Raises:
        SettingError: if the file cannot be read, or a line is something else.
    """

    def question(line: Any) -> Question:
        answers = tuple(map(_text, line["answers"]))
        if isinstance(line["answers"], str) or not answers:
            raise ValueError
        return Question(_text(line["question"]), answers)

    return _read(path, '{"question": "…", "answers": ["…"]}', question)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _read(path: str, form: str, parse: Callable[[Any], T]) -> tuple[T, ...]:
    read: list[T] = []
    try:
        with Path(path).expanduser().open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        read.append(parse(json.loads(line)))
                    except (ValueError, KeyError, TypeError, RecursionError):
                        raise SettingError(f"{path}, line {number}: expected {form}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from None
    if not read:
        raise SettingError(f"{path} is empty: expected lines such as {form}")
    return tuple(read)
