"""One-line error messages for invalid command lines, made from tyro's errors."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from functools import singledispatch
from typing import Any, get_args, get_origin, get_type_hints

import tyro
from tyro import _errors

from hgpo.errors import SettingError
from hgpo.training.choices import Choice, choice_of

_NO_PREFIX = tyro.conf.OmitArgPrefixes[int].__metadata__[0]  # pyright: ignore[reportAttributeAccessIssue]
_POSITIONAL = tyro.conf.Positional[int].__metadata__[0]  # pyright: ignore[reportAttributeAccessIssue]


def refuse(event: _errors.ParseErrorEvent, more: str) -> None:
    """Raise the error that tyro is about to print as a SettingError of one line.

    Unknown kinds of events are left to tyro, which prints them.

    Args:
        event: tyro's error.
        more: a hint at how to list the options.

    Raises:
        SettingError: with the message.
    """
    if (line := _line(event)) is None:
        return
    # A message from the settings' own checks needs no hint.
    raise SettingError(line if _is_own(event) else line + more)


def unknown_words(words: Sequence[str], options: Any, default: Any) -> str:
    """A message about the first unknown argument, with suggestions.

    Args:
        words: the unknown arguments, at least one.
        options: the dataclass, or a union of dataclasses.
        default: an instance of it, which determines the options of nested settings; None: its own defaults.
    """
    word = words[0]
    if not word.startswith("-"):
        named = [
            f"{field}:{name.replace('_', '-')}"
            for field, choice in choices(options)
            for name in choice.registry
        ]
        field = f"{word.partition(':')[0]}:"
        if word.replace("_", "-") in named or (word.count(":") > 1 and named):
            return f"{word}: give it once, and before the options that begin with --{field[:-1]}."
        kind = [name for name in named if name.startswith(field)]
        own = f" or {field}MODULE:CLASS" if kind else ""
        return f"{word}: choose from {', '.join(kind or named)}{own}" if named else f"{word} is not expected"
    option = word.partition("=")[0].replace("_", "-")
    names = list(_option_names(options, default))
    prefix, _, leaf = option.rpartition(".")
    # For an option of a settings group, suggest only options of that group.
    names = [name for name in names if name.startswith(f"{prefix}.")] or names
    near = difflib.get_close_matches(leaf.lstrip("-"), {_leaf(name): None for name in names}, n=1)
    meant = [name for name in names if _leaf(name) in near]
    meant = [name for name in meant if "." not in name] or meant
    return f"there is no option {word}" + (f"; did you mean {' or '.join(meant)}?" if meant else "")


def _leaf(option: str) -> str:
    return option.rpartition(".")[2].lstrip("-")


def _is_own(event: _errors.ParseErrorEvent) -> bool:
    return isinstance(event, _errors.InstantiationFailure) and event.argument is None


@singledispatch
def _line(event: _errors.ParseErrorEvent) -> str | None:
    """The message; None for an unknown kind of event."""
    return None


@_line.register
def _(event: _errors.MissingArgs) -> str:
    names = ", ".join(_shown(missing.arg) for missing in event.missing_arguments)
    unknown = f", and {event.unrecognized_tokens[0]} is not known" if event.unrecognized_tokens else ""
    return f"missing: {names}{unknown}"


@_line.register
def _(event: _errors.MissingSubcommand) -> str:
    return f"expected one of {', '.join(event.subcommand_spec.parser_from_name)}"


@_line.register
def _(event: _errors.SubcommandConflict) -> str:
    return (
        f"{event.attempted} comes after {event.trigger_flag}, an option of {event.already_selected}: give "
        f"{event.attempted} first"
    )


@_line.register
def _(event: _errors.BadValue) -> str:
    return f"{_shown(event.argument)} has no value: give one"


@_line.register
def _(event: _errors.InvalidChoice) -> str:
    return f"{_shown(event.argument)} {event.value}: choose from {', '.join(event.choices)}"


@_line.register
def _(event: _errors.InstantiationFailure) -> str:
    # tyro's reason may have several lines, one per type that it has tried.
    reason = event.message.splitlines()[0]
    return reason if event.argument is None else f"{_shown(event.argument)}: {reason}"


def _shown(argument: Any) -> str:
    """An argument as the help text shows it."""
    return str(argument.lowered.metavar) if argument.is_positional() else argument.display_name()


def _option_names(options: Any, default: Any, prefix: str = "") -> Iterator[str]:
    """The options of a dataclass; those of nested dataclasses have the field's name and a dot as a prefix."""
    for cls in _dataclasses(options):
        hints = get_type_hints(cls, include_extras=True)
        for field in dataclasses.fields(cls):
            marks = getattr(hints[field.name], "__metadata__", ())
            value = _default(field) if default is None else getattr(default, field.name)
            given = [name for mark in marks if (name := getattr(mark, "name", None))]
            name = prefix + (given or [field.name])[0].replace("_", "-")
            if dataclasses.is_dataclass(value):
                inner = prefix if _NO_PREFIX in marks else f"{name}."
                yield from _option_names(type(value), value, inner)
            elif field.init and _POSITIONAL not in marks:
                yield f"--{name}"
                if value is True:
                    yield f"--{prefix}no-{field.name.replace('_', '-')}"


def _default(field: dataclasses.Field[Any]) -> Any:
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def choices(options: Any) -> Iterator[tuple[str, Choice]]:
    """The fields for which a word such as env:household chooses a class, each with its choice."""
    for cls in _dataclasses(options):
        for field, hint in get_type_hints(cls, include_extras=True).items():
            if (choice := choice_of(hint)) is not None:
                yield field, choice


def _dataclasses(options: Any) -> tuple[Any, ...]:
    """The dataclass itself, without type arguments; for a union, its members."""
    cls = get_origin(options) or options
    return (cls,) if dataclasses.is_dataclass(cls) else get_args(options)
