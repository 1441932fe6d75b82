"""Parses command lines into dataclasses with tyro, in two stages; errors are one line each.

A preset, a model or an environment changes the defaults of other options. The first stage reads the options
that do so; the second stage reads all options with the resulting defaults. Both read the same dataclass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, field, fields, make_dataclass
from functools import partial
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import tyro

# This is tyro's internal interface for errors, so pyproject.toml limits the versions of tyro.
from tyro._errors import on_parse_error

from hgpo.cli.refusals import choices, refuse, unknown_words
from hgpo.errors import SettingError
from hgpo.training.choices import choice_of

T = TypeVar("T")

HELP_OPTIONS = ("-h", "--help", "--help-all")


def first_stage(options: type, names: Sequence[str], args: Sequence[str]) -> tuple[Any, list[str]]:
    """The values of the options that decide the defaults of others.

    Only the form of the arguments is checked: whether the values fit together depends on the defaults.

    Args:
        options: a dataclass.
        names: the fields to read.
        args: the command line's arguments.

    Returns:
        An object with one attribute per name, and the arguments that are not options. An attribute is None if
        its option is not given or is refused (the second stage reports that), and () if an option that may be
    given several times is not given.
    """
    hints = get_type_hints(options, include_extras=True)
    several = {each.name for each in fields(options) if each.default == ()}
    declared: list[Any] = [
        (name, hints[name], ()) if name in several else (name, _optional(hints[name]), None) for name in names
    ]
    # All other options are read as well, so that no option's value is taken for another option.
    declared += [
        (each.name, hints[each.name], field(default=each.default, default_factory=each.default_factory))
        for each in fields(options)
        if each.name not in names and not (each.default is MISSING and each.default_factory is MISSING)
    ]
    first = make_dataclass(options.__name__, declared)
    # tyro takes an unknown option where a positional argument may be missing for an argument of its own.
    words = [word for word in args if word not in HELP_OPTIONS]
    with _classes_named(options, args):
        try:
            found, others = _read(first, _as_listed(options, words), prog="", add_help=False)
            return found, [*others, *(word for word in args if word in HELP_OPTIONS)]
        except SettingError:
            return first(), list(args)


def parse(
    options: type[T],
    args: Sequence[str],
    prog: str,
    default: T | None = None,
    help_option: str = "--help",
) -> T:
    """The options that `args` give; their help texts are the docstrings of the fields.

    Args:
        options: a dataclass, or a union of dataclasses, one per subcommand.
        args: the command line's arguments.
        prog: the name of the command.
        default: the values of options that are not given; None: the dataclass's own defaults.
        help_option: the option that lists all options.

    Raises:
        SettingError: if the arguments are wrong; one line, with the nearest option if one is misspelt.
        SystemExit: with code 0 after the help option.
    """
    words = ["--help" if word == help_option else word for word in _as_listed(options, args)]
    more = f" ({prog} {help_option} lists all)"
    start = tyro.MISSING_NONPROP if default is None else default
    with _classes_named(options, args):
        parsed, unknown = _read(options, words, prog=prog, default=start, more=more)
    if unknown:
        raise SettingError(unknown_words(unknown, options, default) + more)
    return parsed


def _optional(hint: Any) -> Any:
    """The type or None; for a choice among classes, the subcommands that this command line offers."""
    choice = choice_of(hint)
    if choice is not None:

        def or_none() -> Any:
            return choice.subcommands() | None

        return Annotated[Any, tyro.conf.arg(constructor_factory=or_none)]
    kind, *marks = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    return Annotated[kind | None, tyro.conf.arg(), *marks]


def _as_listed(options: Any, args: Sequence[str]) -> list[str]:
    """The words, with hyphens in the names of a choice's classes, such as env:search_qa.

    tyro accepts both spellings, but only the one that it lists ends the values of an option before it.
    """
    listed = {
        f"{field}:{name}": f"{field}:{name.replace('_', '-')}"
        for field, choice in choices(options)
        for name in choice.registry
    }
    return [listed.get(word, word) for word in args]


@contextmanager
def _classes_named(options: Any, args: Sequence[str]) -> Iterator[None]:
    """Within the block, the classes that the words name, as in env:MODULE:CLASS, can be chosen.

    Raises:
        SettingError: if one of them cannot be loaded.
    """
    with ExitStack() as stack:
        for field, choice in choices(options):
            named = [word.removeprefix(f"{field}:") for word in args if word.startswith(f"{field}:")]
            stack.enter_context(choice.registry.naming(named))
        yield


def _read(options: Any, args: Sequence[str], more: str = "", **settings: Any) -> tuple[Any, list[str]]:
    """tyro's result for the arguments, and the arguments that it does not know."""
    with on_parse_error(partial(refuse, more=more)):
        return tyro.cli(
            options,
            args=list(args),
            return_unknown_args=True,
            config=(tyro.conf.CascadeSubcommandArgs,),
            **settings,
        )
