"""`hgpo check trl`: the version, and the functions that the adapter overrides or calls."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import hgpo.adapters.trl
from hgpo.adapters import versions
from hgpo.adapters.hooks import Hook, check_hook
from hgpo.adapters.trl.check import HOOKS
from hgpo.cli import main
from hgpo.errors import SettingError


def needs_trl(test):
    skip = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed (make test-trl)")
    return pytest.mark.stack(pytest.mark.filterwarnings("ignore")(skip(test)))


@pytest.mark.parametrize("installed", ["0.29.0", "2.0.0", "2.1"])
def test_another_version_is_refused_in_one_line(monkeypatch, capsys, installed):
    monkeypatch.setattr(versions, "version", lambda name: installed)
    line = f"trl {installed} is installed, but hgpo supports >=1.0,<2: pip install 'hgpo[trl]'"
    # The metadata of an older installation of hgpo has no such extra.
    monkeypatch.setattr(versions, "how_to_install", lambda name: f"pip install 'hgpo[{name}]'")
    assert main(["check", "trl"]) == 2
    assert capsys.readouterr().err == f"hgpo: {line}\n"
    with pytest.raises(SettingError) as refusal:
        _ = hgpo.adapters.trl.StepwiseGRPOTrainer
    assert str(refusal.value) == line


@pytest.mark.parametrize("installed", ["1.0.0", "1.16.0", "1.99"])
def test_versions_that_are_supported(monkeypatch, installed):
    monkeypatch.setattr(versions, "version", lambda name: installed)
    assert versions.supported_version("trl") == installed


def test_the_versions_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for stack, supported in versions.SUPPORTED.items():
        assert stack + supported in [
            requirement for extra in project["optional-dependencies"].values() for requirement in extra
        ]


def test_a_stack_that_is_not_known_is_refused(capsys):
    assert main(["check", "jax"]) == 2
    assert "jax: choose from skyrl, trinity, trl, verl" in capsys.readouterr().err


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = hgpo.adapters.trl.Trainer  # pyright: ignore[reportAttributeAccessIssue]


@needs_trl
@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.path)
def test_every_hook_fits(hook):
    assert check_hook(hook, "trl").problem is None


@needs_trl
def test_a_hook_that_differs_is_named():
    path = "trl.trainer.grpo_trainer:GRPOTrainer._compute_loss"
    found = check_hook(Hook(path, ("self", "inputs"), "x"), "trl").problem
    assert found == (
        "has the parameters (self, model, inputs), expected (self, inputs); install a supported version: "
        "pip install 'trl>=1.0,<2'"
    )
    # A parameter that some versions lack is no difference.
    assert check_hook(Hook(path, ("self", "inputs"), "x", optional=("model",)), "trl").problem is None
    gone = check_hook(Hook(f"{path}es", ("self",), "x"), "trl").problem
    assert gone is not None and gone.startswith("does not exist: ")


@needs_trl
def test_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "hgpo", "check", "trl"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok       trl 1.") and lines[-1] == "no problems found"
    assert len(lines) == len(HOOKS) + 2
