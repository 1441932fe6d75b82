"""Command lines from dataclasses by tyro, with errors of one line."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import TypeVar

import tyro

from hgpo.errors import SettingError

T = TypeVar("T")


def parse(
    options: type[T],
    args: Sequence[str],
    prog: str,
    default: T | None = None,
    help_option: str = "--help",
) -> T:
    """The options that `args` give; the fields' docstrings are the help.

    Args:
        options: a dataclass.
        args: the command line's words.
        prog: what the command is called.
        default: the values of what is not given; None: the dataclass's own.
        help_option: the option that lists all options.

    Raises:
        SettingError: with what is wrong in one line, and the nearest option where one is misspelt.
        SystemExit: with code 0 after the help option.
    """
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            return tyro.cli(
                options,
                args=["--help" if word == help_option else word for word in args],
                prog=prog,
                config=(tyro.conf.CascadeSubcommandArgs,),
                default=tyro.MISSING_NONPROP if default is None else default,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise SettingError(f"{_in_one_line(errors.getvalue())} ({prog} {help_option} lists all)") from None


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
