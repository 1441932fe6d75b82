"""`hgpo verl check`: versions, processes, hooks."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from hgpo.adapters import versions
from hgpo.adapters.hooks import Hook, check_hook
from hgpo.adapters.verl import check
from hgpo.adapters.verl.check import HOOKS, plugin_state
from hgpo.cli import main

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.path)
def test_every_hook_fits(hook):
    assert check_hook(hook, "verl").problem is None


@pytest.mark.parametrize(
    ("hook", "problem"),
    [
        (
            Hook("verl.trainer.ppo.core_algos:register_adv_est", ("name", "config"), "x"),
            "has the parameters (name_or_enum), expected (name, config); install a supported version",
        ),
        (
            # One parameter more than is expected is a difference, too.
            Hook("verl.trainer.ppo.ray_trainer:compute_advantage", ("data", "adv_estimator"), "x"),
            "has the parameters (data, adv_estimator, gamma, lam, num_repeat, norm_adv_by_std_in_grpo, config)",
        ),
        (
            Hook("verl.trainer.ppo.v1.trainer_base:PPOTrainer._advantage", ("self",), "x"),
            "does not exist: type ob",
        ),
        (
            Hook("verl.trainer.v2:PPOTrainer", ("self",), "x"),
            "does not exist: No module named 'verl.trainer.v2'",
        ),
    ],
)
def test_a_hook_that_differs_is_named(hook, problem):
    found = check_hook(hook, "verl").problem
    assert found is not None and found.startswith(problem)
    assert "pip install 'verl>=0.9.1,<0.10'" in found


@pytest.mark.parametrize("installed", ["0.9.0", "0.10.0", "0.8.2", "1.0"])
@pytest.mark.parametrize("command", [["check"], ["train", "--preset", "alfworld-1.5b"]])
def test_another_version_is_refused_in_one_line(monkeypatch, capsys, installed, command):
    monkeypatch.setattr(versions, "version", lambda name: installed)
    assert main(["verl", *command]) == 2
    assert capsys.readouterr().err == (
        f"hgpo: verl {installed} is installed, but hgpo supports >=0.9.1,<0.10: pip install 'hgpo[verl]'\n"
    )


@pytest.mark.parametrize("installed", ["0.9.1", "0.9.2", "0.9.1.post1"])
def test_versions_that_are_supported(monkeypatch, installed):
    monkeypatch.setattr(versions, "version", lambda name: installed)
    assert versions.supported_version("verl") == installed


def test_the_plugin_is_loaded_here():
    assert plugin_state() is None


@pytest.mark.parametrize("first", ["trainers", "agent_loop", "advantages"])
def test_whichever_part_is_imported_first(first):
    """It imports verl, which imports the plugin, which imports all parts, the first one half done."""
    program = (
        f"import hgpo.adapters.verl.{first}, verl, hgpo.adapters.verl.plugin as plugin\n"
        "from verl.trainer.ppo.v1 import get_trainer_cls\n"
        "from verl.trainer.ppo.core_algos import get_adv_estimator_fn\n"
        "get_trainer_cls('hgpo_sync'), get_adv_estimator_fn('stepwise_hgpo')\n"
        "assert plugin.problem is None, plugin.problem"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_plugin_that_is_switched_off(monkeypatch):
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "none")
    problem = plugin_state()
    assert problem is not None and "unset it, or name hgpo in it" in problem
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "other,hgpo")
    assert plugin_state() is None


def test_a_plugin_that_failed_says_why(monkeypatch):
    """verl itself says nothing of it."""
    from hgpo.adapters.verl import plugin

    monkeypatch.setattr(versions, "version", lambda name: "0.8.0")
    problem = plugin.load()
    assert problem is not None and "verl 0.8.0 is installed" in problem
    monkeypatch.setattr(plugin, "problem", problem)
    assert plugin_state() == problem


def test_a_plugin_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(check, "entry_points", lambda group: [])
    problem = plugin_state()
    assert problem is not None and "not installed there: pip install 'hgpo[verl]'" in problem


def test_the_command_looks_into_rays_processes():
    done = subprocess.run(
        [sys.executable, "-m", "hgpo", "verl", "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok       verl 0.9.")
    assert any(line.startswith("ok       plugin in a Ray worker on ") for line in lines)
    assert len(lines) == len(HOOKS) + 4
    assert lines[-1] == "no problems found"
