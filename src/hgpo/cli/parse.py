"""Command lines from dataclasses by tyro, with errors of one line."""

from __future__ import annotations

import difflib
import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import TypeVar

import tyro

from hgpo.errors import SettingError

T = TypeVar("T")

RENAMED = {"--history-length": "--prompt-history"}
"""Options of training and evaluation by their old names, which are accepted for one release."""


def with_present_names(args: Sequence[str]) -> list[str]:
    """The words with old names of options replaced; each old one is told on standard error, in one line."""
    words = []
    for word in args:
        option, equals, value = word.partition("=")
        present = RENAMED.get(option.replace("_", "-"))
        if present is not None:
            print(f"hgpo: {option} is deprecated: the option's name is {present}", file=sys.stderr)
            word = f"{present}{equals}{value}"
        words.append(word)
    return words


def parse(options: type[T], args: Sequence[str], prog: str, default: T | None = None) -> T:
    """The options that `args` give; the fields' docstrings are the help.

    Args:
        options: a dataclass.
        args: the command line's words.
        prog: what the command is called.
        default: the values of what is not given; None: the dataclass's own.

    Raises:
        SettingError: with what is wrong in one line, and the nearest option where one is misspelt.
        SystemExit: with code 0 after --help.
    """
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            return tyro.cli(
                options,
                args=args,
                prog=prog,
                config=(tyro.conf.CascadeSubcommandArgs,),
                default=tyro.MISSING_NONPROP if default is None else default,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise SettingError(f"{_in_one_line(errors.getvalue())} ({prog} --help lists all)") from None


def _in_one_line(box: str) -> str:
    """The words of tyro's framed message: what is wrong, and what it suggests first."""
    box = re.sub(r"\x1b\[[0-9;]*m", "", box)
    # The frame and the rules within it are of box characters, or of ASCII where the terminal has no others.
    lines = [line.strip(" │╭╮╰╯|") for line in box.splitlines()]
    # The first line is the frame's title; the message goes on to the first rule, hints follow it.
    blocks: list[list[str]] = [[]]
    for line in lines[1:]:
        if line.strip("─+-"):
            blocks[-1].append(line)
        else:
            blocks.append([])
    message, *hints = [" ".join(block) for block in blocks if block] or ["wrong options"]
    message = re.sub(r"^Error parsing \w+: ", "", message)
    suggestions = [line.split()[0] for line in lines if re.match(r"--\w", line)]
    unknown = re.match(r"Unrecognized options: ([^\s,]+)", message)
    if suggestions and unknown:
        nearest = difflib.get_close_matches(unknown[1], suggestions, n=1, cutoff=0.0)[0]
        return f"{message}; did you mean {nearest}?"
    choices = next((hint for hint in hints if hint.startswith("Available subcommands: ")), None)
    return f"{message}; {choices.lower()}" if choices else message
