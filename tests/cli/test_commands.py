"""The commands that read a file of rollouts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest

from hgpo import AEM, GRPO, HGPO, GiGPO, StepTable
from hgpo.cli import COMMANDS, main
from hgpo.rollout_files import read_rollouts, write_rollouts


@pytest.fixture
def rollouts(tmp_path):
    """A file of random walks in which what is paid depends on the state before, with two further keys."""
    rng = np.random.default_rng(0)
    columns = {
        name: []
        for name in (
            "task_id",
            "trajectory_id",
            "step_index",
            "state_key",
            "reward",
            "action",
            "action_valid",
        )
    }
    for walk in range(400):
        states = rng.choice(list("ABC"), 3)
        for step, state in enumerate(states):
            paid = {"A": 0.0, "B": 5.0, "C": 10.0}[states[1]] + rng.normal() if step == 2 else 0.0
            action = f"go to {states[step + 1]}" if step < 2 else "stop"
            values = (f"task {walk // 200}", f"walk {walk}", step, state, paid, action, bool(rng.integers(4)))
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    steps = StepTable(**columns)
    path = tmp_path / "r.parquet"
    both = [f"{state}{step}" for state, step in zip(steps.state_key, steps.step_index, strict=True)]
    write_rollouts(path, steps, {"full_state": both, "nothing": ["same"] * len(steps)})
    return path


def test_advantages_are_written_beside_the_ids(rollouts, capsys):
    assert main(["advantages", str(rollouts), "--history-length", "1", "--alpha", "2"]) == 0
    assert "r.advantages.parquet" in capsys.readouterr().out
    written = pyarrow.parquet.read_table(rollouts.with_name("r.advantages.parquet"))
    assert written.column_names == ["task_id", "trajectory_id", "step_index", "advantage"]
    steps = read_rollouts(rollouts).steps
    expected = HGPO(history_length=1, alpha=2.0)(steps)
    np.testing.assert_array_equal(written["advantage"].to_numpy(), expected)
    assert written["trajectory_id"].to_pylist() == steps.trajectory_id.tolist()


def test_an_estimator_brings_its_own_settings(rollouts):
    out = rollouts.with_name("a.jsonl")
    line = ["advantages", str(rollouts), "--estimator", "gigpo", "--step-weight", "0.5", "--out", str(out)]
    assert main(line) == 0
    expected = GiGPO(step_weight=0.5)(read_rollouts(rollouts).steps)
    found = [json.loads(row)["advantage"] for row in out.read_text().splitlines()]
    assert found == expected.tolist()
    assert main(line) == 2  # it exists already
    assert main([*line, "--overwrite"]) == 0


def test_entropy_credit_goes_on_top_of_any_estimator(rollouts, capsys):
    steps = read_rollouts(rollouts).steps
    steps = steps.with_entropy(np.random.default_rng(1).random(len(steps)))
    file, out = rollouts.with_name("e.parquet"), rollouts.with_name("a.jsonl")
    write_rollouts(file, steps)
    line = ["advantages", str(file), "--estimator", "grpo", "--entropy-credit", "aem", "--out", str(out)]
    assert main(line) == 0
    assert "AEM(estimator=GRPO(" in capsys.readouterr().out.replace("\n", "")
    found = [json.loads(row)["advantage"] for row in out.read_text().splitlines()]
    assert found == AEM(GRPO())(steps).tolist()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--entropy-credit", "aem"], "or in a file the column entropy, the mean entropy of"),
        (["--entropy-credit", "empg"], "hgpo train --entropy-credit aem --keep-rollouts writes it"),
        (["--entropy-credit", "half"], "--entropy-credit"),
        (["--estimator", "best"], "--estimator best: choose from hgpo, hbc, gigpo"),
        (["--estimator", "grpo", "--alpha", "1"], "--alpha"),
        (["--alpha", "-1"], "alpha is -1.0; give a number of at least 0"),
        (["--estimator", "ppo"], "these advantages need a critic's values"),
        (["--similarity", "0.9"], "compares the texts that the agent saw, but the table has none"),
        (["--workers", "0"], "--workers is 0"),
        (["--out", "x.csv"], "ends in .parquet or .jsonl"),
        (["--rename", "uid"], "expected THEIRS=OURS"),
        (["--rename", "uid=task_id"], "no column 'uid' to rename"),
    ],
)
def test_wrong_use_ends_in_one_line(args, words, rollouts, capsys):
    assert main(["advantages", str(rollouts), *args]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("hgpo: ") and error.count("\n") == 1
    assert [path.name for path in rollouts.parent.iterdir()] == ["r.parquet"]


def test_the_rollouts_themselves_are_never_overwritten(rollouts, capsys):
    before = rollouts.read_bytes()
    assert main(["advantages", str(rollouts), "--out", str(rollouts), "--overwrite"]) == 2
    assert rollouts.read_bytes() == before


def test_diagnose_shows_levels_aliasing_and_the_depth_to_compare(rollouts, capsys):
    assert main(["diagnose", str(rollouts), "--history-length", "2", "--discount", "0"]) == 0
    shown = capsys.readouterr().out
    # The key without the step stands for several full states at each of its three letters; the past matters
    # by one state.
    assert "state key state_key: 100.0% of the steps aliased" in shown
    assert "state key nothing: 100.0% of the steps aliased" in shown
    assert "Compare steps by full_state with K = 2: it has the highest score." in " ".join(shown.split())
    assert max(map(len, shown.splitlines()[1:])) <= 80  # the first line holds the path
    assert main(["diagnose", str(rollouts), "--truth", "state"]) == 2
    assert "no such key; choose from state_key, full_state, nothing" in capsys.readouterr().err


def test_estimators_are_compared_on_the_same_rollouts(rollouts, capsys):
    assert main(["compare-estimators", str(rollouts), "--invalid-penalty", "0.1"]) == 0
    shown = capsys.readouterr().out
    for name in ("hgpo reliability", "gigpo", "dr grpo", "rloo", "reinforce++", "graphgpo", "crbc"):
        assert name in shown
    # Tables of fifteen estimators are cut into parts that fit 80 columns, so that no number is cut off.
    assert "…" not in shown and shown.count("correlation of the advantages") == 2
    # The file has actions and no values.
    assert " hbc " in shown and " ppo " not in shown
    assert f"ppo is left out: {rollouts} has no column value" in shown.replace("\n", "")
    silent = rollouts.with_name("silent.parquet")
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(rollouts).drop_columns(["action"]), silent)
    assert main(["compare-estimators", str(silent)]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name} is left out" in shown for name in ("hbc", "crbc", "ecpo"))
    assert main(["compare-estimators", str(rollouts), "--history-length", "-1"]) == 2


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("torch is blocked", name="torch")

sys.meta_path.insert(0, Blocked())
from hgpo.cli import main
"""


def test_what_trains_nothing_runs_without_torch(rollouts):
    words = [
        ["presets"],
        ["presets", "alfworld-7b"],
        ["train", "--help"],
        ["train", "--preset", "webshop-1.5b", "--help"],
        ["env", "check", "household", "--tasks", "1"],
        ["evaluate", "--policy", "expert", "random", "--tasks", "1"],
        ["lab", "theory", "--rows", "1000", "--processes", "2", "--out", str(rollouts.parent / "lab")],
        *([name, str(rollouts)] for name in ("diagnose", "compare-estimators", "advantages")),
    ]
    code = f"for words in {words}: assert main(words) == 0, words\nassert main(['train', '--iterations', '1']) == 2"
    environment = {**os.environ, "WEBSHOP_DATA": str(rollouts.parent)}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    # What does need it says what to install.
    assert (
        done.stderr == "hgpo: this command needs torch, which is not installed: pip install 'hgpo[train]'\n"
    )


@pytest.mark.parametrize("name", ["search_qa", "search-qa"])
def test_an_environment_s_name_ends_the_list_of_players(name, capsys):
    assert main(["evaluate", "--policy", "random", "--tasks", "1", f"env:{name}"]) == 0
    assert "tasks: search_qa" in capsys.readouterr().out


def test_solving_says_for_how_many_tasks_no_walkthrough_is_known(tmp_path, capsys):
    corpus, questions = tmp_path / "corpus.jsonl", tmp_path / "questions.jsonl"
    corpus.write_text('{"title": "Tagus", "text": "The Tagus is a river."}')
    # A checksum holds out a quarter of them, so that at least two of these are for training.
    questions.write_text(
        "\n".join(f'{{"question": "What is river {number}?", "answers": ["Tagus"]}}' for number in range(12))
    )
    own = ["--env.corpus", str(corpus), "--env.questions", str(questions)]
    assert main(["env", "solve", "search_qa", "--split", "train", "--tasks", "2", *own]) == 1
    assert "no walkthrough is known for 2 of 2 tasks" in capsys.readouterr().out
    # Where walkthroughs are known, nothing is said of them.
    assert main(["env", "solve", "search_qa", "--tasks", "2"]) == 0
    assert "no walkthrough" not in capsys.readouterr().out


def test_help_files_and_games_load_nothing_heavy(rollouts):
    words = [
        [],
        ["--help"],
        *([name, "--help"] for name in COMMANDS),
        *([name, str(rollouts)] for name in ("diagnose", "compare-estimators", "advantages")),
        ["env", "check", "--help"],
        ["env", "play", "household"],
    ]
    code = (
        "import sys; from hgpo.cli import main\n"
        f"for words in {words}: assert main(words) == (0 if words else 2), words\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & sys.modules.keys()"
    )
    # Nobody types anything: a game that is played ends at once.
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
