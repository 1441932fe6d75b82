"""`hgpo check trinity` and `hgpo check skyrl`, and versions that the adapters do not support."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from hgpo.adapters import versions
from hgpo.adapters.hooks import check_hook
from hgpo.cli import main
from hgpo.errors import SettingError

STACKS = {"trinity": ("trinity-rft", "StepwiseAdvantageFn"), "skyrl": ("skyrl", "StepwiseTrainer")}
OTHER_VERSIONS = {"trinity": ("0.5.2", "0.7.0"), "skyrl": ("0.3.0", "0.5.0")}


@pytest.mark.parametrize(
    ("stack", "installed"), [(stack, version) for stack in STACKS for version in OTHER_VERSIONS[stack]]
)
def test_another_version_is_refused_in_one_line(monkeypatch, capsys, stack, installed):
    package, name = STACKS[stack]
    monkeypatch.setattr(versions, "version", lambda name: installed)
    monkeypatch.setattr(versions, "how_to_install", lambda name: f"pip install 'hgpo[{stack}]'")
    supported = versions.SUPPORTED[package]
    line = f"{package} {installed} is installed, but hgpo supports {supported}: pip install 'hgpo[{stack}]'"
    assert main(["check", stack]) == 2
    assert capsys.readouterr().err == f"hgpo: {line}\n"
    with pytest.raises(SettingError) as refusal:
        getattr(import_module(f"hgpo.adapters.{stack}"), name)
    assert str(refusal.value) == line


@pytest.mark.stack
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stack", STACKS)
def test_every_hook_fits(stack):
    if find_spec(stack) is None:
        pytest.skip(f"{STACKS[stack][0]} is not installed (make test-{stack})")
    hooks = import_module(f"hgpo.adapters.{stack}.check").HOOKS
    assert [check_hook(hook, STACKS[stack][0]).problem for hook in hooks] == [None] * len(hooks)
    done = subprocess.run(
        [sys.executable, "-m", "hgpo", "check", stack], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "no problems found"
