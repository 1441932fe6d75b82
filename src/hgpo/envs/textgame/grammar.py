"""The text grammar of a game (.twl2): the commands of each action, and the text after it.

A grammar file has blocks of rules, written as JSON, and actions:

    grammar :: \"\"\"{"intro": [{"condition": "…", "rhs": "You see #things#."}, {"rhs": "…"}]}\"\"\";
    action Open { template :: "open {r}"; feedback :: "#look#"; grammar :: \"\"\"{…}\"\"\"; }

In a text, #rule# is replaced by the first alternative of the rule whose condition holds; {r.name} by the
object that r stands for; {text | query} by the text once for each solution of the query, one after the
other; [{text | query}] by the same as a list with separators (the rules list_empty, list_separator and
list_last_separator). A condition or query is a conjunction, as in
lies(o:object, r:receptacle) & closed(r:receptacle). Its solutions are in the order of the objects'
identifiers, and different variables stand for different objects. For a predicate p that some action makes
false, not_p can be asked for: facts of p that were true at some time and have been made false since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from hgpo.envs.textgame.errors import GameFormatError
from hgpo.envs.textgame.pddl import Atom, Typed


@dataclass(frozen=True)
class Query:
    """A conjunction of atoms over placeholders; a placeholder is a variable with a type."""

    atoms: tuple[Atom, ...]
    types: Typed


@dataclass(frozen=True)
class Words:
    """Fixed text."""

    text: str


@dataclass(frozen=True)
class Rule:
    """A reference to a rule, by its name."""

    name: str


@dataclass(frozen=True)
class Value:
    """The name of a placeholder's object: the first choice that is not empty.

    A choice is a sequence of parts: ("", text) is that text, (placeholder, attribute) the object's attribute.
    """

    choices: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class Each:
    """A part repeated for every solution of a query (once without a query), as a list or concatenated."""

    part: Part
    query: Query | None
    as_list: bool


Part: TypeAlias = "Words | Rule | Value | Each"


@dataclass(frozen=True)
class Alternative:
    """One alternative of a rule, as written: it applies if its condition holds or it has none."""

    condition: str | None
    text: str


@dataclass(frozen=True)
class Phrases:
    """The texts of one action."""

    template: tuple[Part, ...]
    feedback: tuple[Part, ...]


@dataclass(frozen=True)
class Grammar:
    """A parsed grammar file."""

    rules: Mapping[str, tuple[Alternative, ...]]
    actions: Mapping[str, Phrases]


_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_FIELD = r'\s*(\w+)\s*::\s*("""(?:.|\n)*?"""|"[^"]*")\s*;'
_SECTION = re.compile(
    rf"\s*(?:grammar\s*::\s*(?P<rules>\"\"\"(?:.|\n)*?\"\"\")\s*;"
    rf"|action\s+(?P<action>[\w/-]+)\s*\{{(?P<fields>(?:{_FIELD})*)\s*\}}\s*;?)"
)
_SYMBOL = re.compile(
    r"(?P<words>[^#{}\[\]]+)"
    r"|\#(?P<rule>[^#{}\[\]]+)\#"
    r"|(?P<list>\[)?\{\s*(?:\#(?P<part>[^#{}\[\]]+)\#\s*|(?P<value>[^#{}\[\]|]+))(?:\|(?P<query>[^#{}\[\]|]+))?\}(?(list)\])"
)
_ATOM = re.compile(r"\s*([\w/-]+)\s*\(([^()]*)\)\s*")
_TERM = re.compile(r"\s*(?:'(?P<text>[^']*)'|(?P<name>\w+)(?:\.(?P<attribute>\w+))?)\s*(?P<more>\+|\bor\b|$)")
_ATTRIBUTES = ("name", "indefinite", "definite", "id", "type")


@lru_cache(maxsize=64)
def parse_grammar(text: str) -> Grammar:
    """The grammar in the text of its file; actions are identified by their names in lower case.

    A line that starts with # is a comment. Raises GameFormatError with the line that cannot be parsed.
    """
    text = _COMMENT.sub("", text).rstrip()
    rules: dict[str, tuple[Alternative, ...]] = {}
    actions: dict[str, Phrases] = {}
    position = 0
    while position < len(text):
        section = _SECTION.match(text, position)
        if section is None:
            line = text.count("\n", 0, position) + 1
            raise GameFormatError(
                f"the section of the grammar that begins on line {line} cannot be read: expected "
                'grammar :: """…"""; or action NAME { template :: "…"; feedback :: "…"; }'
            )
        position = section.end()
        if section["rules"]:
            rules |= _rules(section["rules"])
            continue
        name = section["action"].lower()
        fields = dict(re.findall(_FIELD, section["fields"]))
        if not {"template", "feedback"} <= fields.keys() <= {"template", "feedback", "grammar"}:
            raise GameFormatError(
                f"action {name} of the grammar must have a template, a feedback and perhaps a grammar; "
                f"it has {', '.join(fields) or 'nothing'}"
            )
        if "grammar" in fields:
            rules |= _rules(fields["grammar"])
        actions[name] = Phrases(parse_text(fields["template"][1:-1]), parse_text(fields["feedback"][1:-1]))
    return Grammar(rules, actions)


def _rules(block: str) -> dict[str, tuple[Alternative, ...]]:
    """The rules of a block in triple quotes; their texts are parsed when they are first needed."""
    try:
        data = json.loads(block[3:-3])
        return {
            name: tuple(Alternative(entry.get("condition") or None, entry["rhs"]) for entry in alternatives)
            for name, alternatives in data.items()
        }
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise GameFormatError(
            f'rules must be JSON like {{"name": [{{"condition": "…", "rhs": "…"}}]}}: {error!r}'
        ) from error


@lru_cache(maxsize=4096)
def parse_text(text: str) -> tuple[Part, ...]:
    """The parts of a rule's text, a template or a feedback. Leading white space is dropped."""
    text = text.lstrip()
    parts: list[Part] = []
    position = 0
    while position < len(text):
        found = _SYMBOL.match(text, position)
        if found is None:
            raise GameFormatError(f"cannot read {text[position:]!r} in the grammar's text {text!r}")
        position = found.end()
        if found["words"]:
            parts.append(Words(found["words"]))
        elif found["rule"]:
            parts.append(Rule(found["rule"]))
        else:
            part = Rule(found["part"]) if found["part"] else parse_value(found["value"])
            query = parse_query(found["query"]) if found["query"] else None
            as_list = bool(found["list"])
            parts.append(Each(part, query, as_list) if query or as_list else part)
    return tuple(parts)


@lru_cache(maxsize=4096)
def parse_query(text: str) -> Query:
    """A condition such as lies(o:object, r:receptacle) & closed(r:receptacle)."""
    atoms = []
    types: dict[str, str] = {}
    for piece in text.split("&"):
        found = _ATOM.fullmatch(piece)
        if found is None:
            raise GameFormatError(f"cannot read {piece!r} in the grammar's condition {text!r}")
        terms = []
        for placeholder in found[2].split(",") if found[2].strip() else []:
            name, _, kind = map(str.strip, placeholder.partition(":"))
            kind = kind or name.rstrip("'")
            # One name with two types is two placeholders.
            terms.append(f"?{name}:{kind}")
            types[terms[-1]] = kind
        atoms.append(Atom(found[1].lower(), tuple(terms)))
    return Query(tuple(atoms), tuple(types.items()))


def parse_value(text: str) -> Value:
    """The content of braces, such as r.name or r.id, or o.indefinite + ' ' + o.name."""
    choices: list[list[tuple[str, str]]] = [[]]
    position = 0
    while True:
        found = _TERM.match(text, position)
        if found is None or (found["attribute"] or "name") not in _ATTRIBUTES:
            raise GameFormatError(
                f"cannot read {{{text}}} in the grammar: expected names such as o.name or o.id, "
                "texts in single quotes, + and or"
            )
        term = ("", found["text"]) if found["name"] is None else (found["name"], found["attribute"] or "name")
        choices[-1].append(term)
        position = found.end()
        if not found["more"]:
            return Value(tuple(map(tuple, choices)))
        if found["more"] == "or":
            choices.append([])
