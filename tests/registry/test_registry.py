"""Classes by name: built in, from installed packages by entry points, and a user's own by their spelling."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hgpo.errors import SettingError
from hgpo.registry import Registry, load_class, spelling_of


@dataclass(frozen=True)
class Square:
    """A built-in class."""

    side: float = 1.0

    def area(self) -> float:
        return self.side**2


def shapes() -> Registry:
    return Registry("a shape", {"square": Square}, group="tests.shapes", needs=("area",), how="draw it")


CIRCLE = """
from dataclasses import dataclass
from neighbour_of_own_shapes import PI

@dataclass(frozen=True)
class Circle:
    radius: float = 1.0

    def area(self):
        return PI * self.radius**2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The current folder, with a module of the user's own; what is imported of it is forgotten afterwards."""
    (tmp_path / "own_shapes.py").write_text(CIRCLE)
    (tmp_path / "neighbour_of_own_shapes.py").write_text("PI = 3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("spelling", ["own_shapes:Circle", "own_shapes.py:Circle", "./own_shapes.py:Circle"])
def test_a_class_is_found_by_its_spelling(folder, spelling):
    # π is 3 in the neighbouring module: 3 · 2² = 12.
    assert shapes().find(spelling, "--shape")(2.0).area() == 12.0


def test_the_spelling_of_a_class_loads_it_again_from_any_folder(folder, tmp_path_factory, monkeypatch):
    by_module = load_class("own_shapes:Circle")
    assert spelling_of(by_module) == "own_shapes:Circle"
    by_file = load_class("own_shapes.py:Circle")
    assert by_file is by_module
    assert spelling_of(by_file) == f"{folder}/own_shapes.py:Circle"
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_class(spelling_of(by_file)) is by_file


def test_what_is_not_at_the_top_of_a_module_has_no_spelling():
    class Local:
        pass

    with pytest.raises(SettingError, match="define it at the top level of a module"):
        spelling_of(Local)


def test_installed_packages_add_names_which_are_loaded_when_they_are_used(folder, monkeypatch):
    entries = [
        EntryPoint("circle", "own_shapes:Circle", "tests.shapes"),
        EntryPoint("broken", "no_such_module:Shape", "tests.shapes"),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    registry = shapes()
    assert list(registry) == ["square", "circle", "broken"] and "own_shapes" not in sys.modules
    assert registry.find("circle", "--shape").__name__ == "Circle"
    assert registry.find("square", "--shape") is Square
    with pytest.raises(SettingError, match="No module named 'no_such_module'"):
        registry.find("broken", "--shape")


def test_a_command_line_is_offered_what_it_names(folder):
    registry = shapes()
    with registry.naming(["own_shapes:Circle", "triangle"]):
        assert list(registry.offered()) == ["square", "own_shapes:Circle"]
    assert list(registry.offered()) == ["square"]


FAULTS = {
    "a name that nobody has": (
        "circle",
        "",
        "--shape circle: choose from square, or name a class of your own by MODULE:CLASS or FILE.py:CLASS",
    ),
    "a typo in the module": ("own_shape:Circle", "", "No module named 'own_shape'"),
    "a module within one that is no package": ("own_shapes.more:Circle", CIRCLE, "own_shapes.more"),
    "a typo in the class": ("own_shapes:Circel", CIRCLE, "did you mean own_shapes:Circle?"),
    "a file that is not there": ("shapes/own.py:Circle", "", "there is no file"),
    "a file that has another module's name": ("random.py:Circle", CIRCLE, "another module is called random"),
    "a file whose name is no module's": ("my-shapes.py:Circle", CIRCLE, "is not a module name"),
    "no class": ("own_shapes:", CIRCLE, "expected MODULE:CLASS or FILE.py:CLASS"),
    "an error in the module": ("own_shapes:Circle", "x = 1\ny = z", "name 'z' is not defined (own_shapes.py, line 2)"),
    "a syntax error": ("own_shapes:Circle", "def f(:", "SyntaxError: invalid syntax (own_shapes.py, line 1)"),
    "a module that is missing there": ("own_shapes:Circle", "import no_such", "No module named 'no_such' (own_shapes.py"),
    "a module that exits": ("own_shapes:Circle", "raise SystemExit(3)", "SystemExit: 3 (own_shapes.py, line 1)"),
    "a function": ("own_shapes:make", "def make(): ...", "own_shapes:make is a function, not a class"),
    "a class without options": ("own_shapes:Circle", "class Circle: ...", "put @dataclass(frozen=True) above it"),
    "a required argument": (
        "own_shapes:Circle",
        "from dataclasses import dataclass\n@dataclass\nclass Circle:\n    radius: float",
        "requires the argument radius: give the field a default",
    ),
    "a class that cannot be made": (
        "own_shapes:Circle",
        "from dataclasses import dataclass\n@dataclass\nclass Circle:\n    def __post_init__(self): 1 / 0",
        "own_shapes:Circle cannot be created: ZeroDivisionError: division by zero (own_shapes.py, line 4)",
    ),
    "a field of an unknown type": (
        "own_shapes:Circle",
        "from dataclasses import dataclass\n@dataclass\nclass Circle:\n    radius: 'Number' = 1",
        "own_shapes:Circle cannot be created: NameError: name 'Number' is not defined",
    ),
    "a field that no file keeps": (
        "own_shapes:Circle",
        "from dataclasses import dataclass\n@dataclass\nclass Circle:\n    centre: object = object",
        "centre is <class 'object'>, which cannot be saved with a run: use texts, numbers",
    ),
    "a class of another kind": (
        "own_shapes:Circle",
        "from dataclasses import dataclass\n@dataclass\nclass Circle: ...",
        "own_shapes:Circle is not a shape, because it has no area: draw it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_used_is_named_in_one_line(folder, fault):
    spelling, text, words = FAULTS[fault]
    place = spelling.partition(":")[0]
    (folder / (place if place.endswith(".py") and text else "own_shapes.py")).write_text(text)
    with pytest.raises(SettingError) as refused:
        shapes().find(spelling, "--shape")
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_module_that_prints_is_told_and_leaves_the_output_alone(folder, capsys):
    (folder / "own_shapes.py").write_text(CIRCLE + "\nprint('welcome')\n")
    load_class("own_shapes:Circle")
    out, error = capsys.readouterr()
    assert out == ""
    assert error == (
        "hgpo: own_shapes:Circle: own_shapes prints when it is imported ('welcome'): move that under "
        'if __name__ == "__main__"\n'
    )
