"""A registry: the classes of one kind that can be chosen by name, and what such a class must have."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from hgpo.errors import SettingError, in_one_line
from hgpo.registry.loading import load_class, spelling_of

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

C = TypeVar("C")


class Registry(Mapping[str, C]):
    """The classes of one kind by name: the package's own first, then those of installed packages.

    A package gives a class a name by an entry point, which is loaded when the name is looked up. `find` also
    accepts the spelling of any other class.
    """

    def __init__(
        self,
        kind: str,
        built_in: Mapping[str, C],
        *,
        group: str,
        needs: Sequence[str],
        how: str,
        trial: Callable[[Any], str | None] = lambda made: None,
    ):
        """Define the registry; no class is loaded yet.

        Args:
            kind: what the classes are, as one word with its article.
            built_in: the package's own classes by name.
            group: the group of entry points.
            needs: attributes and methods that an instance must have.
            how: where users find help if a class lacks some of them, for the error message.
            trial: tries an instance of a class that is not the package's own, and returns what is wrong with
                it; None if nothing is.
        """
        self.kind, self.built_in, self.group, self.needs, self.how = kind, built_in, group, needs, how
        self.trial = trial
        self._named: ContextVar[dict[str, C]] = ContextVar(group)

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points

        return {entry.name: entry for entry in entry_points(group=self.group)}

    def __iter__(self) -> Iterator[str]:
        return iter({**self.built_in, **self._installed})

    # Registries are compared by identity; types of options that contain a registry must be hashable.
    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __len__(self) -> int:
        return len({**self.built_in, **self._installed})

    def __getitem__(self, name: str) -> C:
        if name in self.built_in:
            return self.built_in[name]
        return self._checked(self._installed[name].value)

    def __contains__(self, name: object) -> bool:
        # The class itself is not loaded.
        return name in self.built_in or name in self._installed

    def find(self, spelling: str, place: str) -> C:
        """The class of a name, of MODULE:CLASS or of FILE.py:CLASS.

        Args:
            spelling: the spelling that the user gave.
            place: where it was given, such as an option, for the error message.

        Raises:
            SettingError: if there is no such class, or if it cannot be used.
        """
        if spelling in self:
            return self[spelling]
        if ":" not in spelling:
            raise SettingError(
                f"{place} {spelling}: choose from {', '.join(self)}, or name a class of your own by "
                "MODULE:CLASS or FILE.py:CLASS"
            )
        return self._checked(spelling)

    def name_of(self, cls: type) -> str:
        """The name of a class, or its spelling if it has no name."""
        return next((name for name, known in self.built_in.items() if known is cls), "") or spelling_of(cls)

    def offered(self) -> dict[str, C]:
        """The classes that a command line offers: the package's own, and those named in `naming`."""
        return {**self.built_in, **self._named.get({})}

    @contextmanager
    def naming(self, spellings: Sequence[str]) -> Iterator[None]:
        """Within the block, the classes with these spellings are also offered; unknown names are left out.

        Raises:
            SettingError: see `find`.
        """
        own = {each: self._checked(each) for each in spellings if ":" in each}
        installed = {each: self[each] for each in spellings if each in self._installed}
        token = self._named.set({**installed, **own})
        try:
            yield
        finally:
            self._named.reset(token)

    def _checked(self, spelling: str) -> C:
        """The class with a spelling, checked to need no arguments and to have all that is required."""
        cls: Any = load_class(spelling)
        if not isinstance(cls, type):
            raise SettingError(f"{spelling} is a {type(cls).__name__}, not a class: expected {self.kind}")
        if not dataclasses.is_dataclass(cls):
            raise SettingError(
                f"{spelling} is not a dataclass: put @dataclass(frozen=True) above it, so that its fields "
                "become options and are saved with a run"
            )
        for field in dataclasses.fields(cls):
            if field.init and field.default is field.default_factory is dataclasses.MISSING:
                raise SettingError(f"{spelling} requires the argument {field.name}: give the field a default")
        try:
            get_type_hints(cls)
            made = cls()
        except Exception as error:
            raise SettingError(f"{spelling} cannot be created: {in_one_line(error)}") from None
        for field in dataclasses.fields(cls):
            value = getattr(made, field.name)
            if field.init and not _kept(value):
                raise SettingError(
                    f"{spelling}: {field.name} is {value!r:.60}, which cannot be saved with a run: use "
                    "texts, numbers, None, tuples, lists, dictionaries or dataclasses of these"
                )
        absent = object()
        missing = [name for name in self.needs if inspect.getattr_static(made, name, absent) is absent]
        if missing:
            raise SettingError(
                f"{spelling} is not {self.kind}, because it has no {', '.join(missing)}: {self.how}"
            )
        if problem := self.trial(made):
            raise SettingError(f"{spelling}: {problem}; {self.how}")
        return cast(C, cls)


def _kept(value: Any) -> bool:
    """Whether a setting is unchanged after it has been written as JSON and read again."""
    if isinstance(value, tuple | list):
        return all(map(_kept, value))
    if isinstance(value, dict):
        return all(map(_kept, value.items()))
    if dataclasses.is_dataclass(value):
        return all(_kept(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init)
    return value is None or type(value) in (bool, int, float, str)
