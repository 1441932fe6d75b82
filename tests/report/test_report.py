"""The report: its data by hand, and the page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hgpo import HGPO, StepTable
from hgpo.cli import main
from hgpo.groups import level_groups
from hgpo.report.data import SampledRollouts, group_sizes, sample_data, task_data
from hgpo.report.page import write_page
from hgpo.returns import discounted_returns

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def sampled(paths: dict[str, str], last: dict[str, float], task: str = "t") -> SampledRollouts:
    """One trajectory a name, one state a letter; `last` is paid at the end."""
    rows = [(name, i, state) for name, path in paths.items() for i, state in enumerate(path)]
    steps = StepTable(
        task_id=[task] * len(rows),
        trajectory_id=[name for name, _, _ in rows],
        step_index=[i for _, i, _ in rows],
        state_key=[state for _, _, state in rows],
        reward=[last[name] if i == len(paths[name]) - 1 else 0.0 for name, i, _ in rows],
        observation=[f"in <room> {state}" for _, _, state in rows],
        action=["go"] * len(rows),
        prompt_tokens=[[1, i] for _, i, _ in rows],
        response_tokens=[[7]] * len(rows),
    )
    estimator = HGPO(history_length=1, normalization="mean", discount=1.0)
    return SampledRollouts(
        20, steps, estimator(steps), discounted_returns(steps, 1.0), level_groups(steps, 1)
    )


def decode(tokens) -> str:
    return " ".join(map(str, tokens))


def test_a_task_group_as_a_graph():
    # x: A B B with 4 at the end, y: A C with 0. Three states; A first (layer 0), then B and C (layer 1).
    data = task_data(sampled({"x": "ABB", "y": "AC"}, {"x": 4.0, "y": 0.0}), 0, decode)
    assert [(s["layer"], s["visits"]) for s in data["states"]] == [(0, 2), (1, 2), (1, 1)]
    # In A 4 against 0: ±2. In B 4 against 4 and in C nobody: 0.
    assert [s["advantage"] for s in data["states"]] == [0.0, 0.0, 0.0]
    assert {(e["from"], e["to"]): (e["count"], e["advantage"]) for e in data["edges"]} == {
        (0, 1): (1, 2.0),
        (1, 1): (1, 0.0),
        (0, 2): (1, -2.0),
    }
    assert [t["rows"] for t in data["trajectories"]] == [[0, 1, 2], [3, 4]]
    assert [t["reward"] for t in data["trajectories"]] == [4.0, 0.0]
    first = data["rows"][0]
    assert (data["texts"][first["prompt"]], data["texts"][first["response"]]) == ("1 0", "7")
    assert (first["return"], first["advantage"], first["valid"]) == (4.0, 2.0, True)
    # Both first steps share a group at level 0; level 1 does not exist for them.
    assert first["groups"][0] == data["rows"][3]["groups"][0] and first["groups"][1] == -1
    # Equal texts are in the file once: "in <room> A", two prompts of steps 0 and 1, …
    assert len(data["texts"]) == len(set(data["texts"]))


def test_how_many_rows_are_in_groups_of_a_size():
    # Groups of 3 and of 1 row, and a row without one: of 5 rows 4 have a group, 3 a group of 2 or more.
    assert group_sizes(np.array([0, 0, 0, 1, -1])) == [[1, 0.8], [2, 0.6]]
    assert group_sizes(np.array([7, 7, 7, 7])) == [[1, 1.0], [2, 1.0], [4, 1.0]]
    assert group_sizes(np.array([-1, -1])) == [[1, 0.0]]


def test_the_tasks_that_differ_most_come_first():
    calm, lively = (
        sampled({"x": "A", "y": "A"}, {"x": 1.0, "y": 0.9}),
        sampled({"x": "A", "y": "A"}, {"x": 9.0, "y": 0.0}),
    )
    columns = {
        name: [*getattr(calm.steps, name), *getattr(lively.steps, name)]
        for name in ("step_index", "state_key", "reward", "observation", "action")
    }
    steps = StepTable(**columns, task_id=["calm"] * 2 + ["lively"] * 2, trajectory_id=list("abcd"))
    advantages = HGPO(normalization="mean")(steps)
    sample = SampledRollouts(1, steps, advantages, advantages, level_groups(steps, 0))
    data = sample_data(sample, decode)
    assert [task["id"] for task in data["tasks"]] == ["lively", "calm"]
    assert sum(data["histogram"]["counts"]) == 4


def page(tmp_path: Path) -> Path:
    sample = sampled({"x": "ABB", "y": "ABC", "z": "AC"}, {"x": 4.0, "y": 0.0, "z": 1.0})
    metrics = [
        {"iteration": i, "success_rate": i / 30, "environment_steps": 10, "steps_mean": 5.0, "valid_share": 0.9,
         "kl": 0.1, "entropy": 0.5, "peer_share_0": 0.9, "peer_share_1": 0.5,
         "seconds_rollout": 2.0, "seconds_advantages": 0.1, "seconds_update": 1.0}
        for i in range(1, 21)
    ]  # fmt: skip
    evaluations = [
        {"iteration": i, "split": "valid_seen", "temperature": 0.0, "success_rate": 0.5, "interval_95": [0.4, 0.6],
         "by_kind": {"clean": {"won": 1, "games": 2}}, "mean_steps": float("nan"), "seconds": 1.0}
        for i in (0, 20)
    ]  # fmt: skip
    path = tmp_path / "report.html"
    settings = {"estimator": "HGPO", "env": "</script><b>", "seed": "0"}
    data = {"name": "run", "settings": settings, "metrics": metrics, "evaluations": evaluations}
    write_page(data | {"sample": sample_data(sample, decode)}, path)
    return path


def test_the_page_needs_nothing_from_outside(tmp_path):
    text = page(tmp_path).read_text()
    assert not re.findall(r"(?:src|href)\s*=|@import|url\(", text)
    assert text.count("</script>") == 1  # texts cannot end the script
    assert "NaN" not in text.split("const DATA = ")[1].split("\n")[0]


def in_browser(path: Path, script: str, width: int = 1200) -> dict:
    """What a script that runs after the page's own returns, as JSON, and the errors on the way."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    probe = path.with_name("probe.html")
    catch = "<script>window.onerror = m => { (window.faults ??= []).push(m); };</script>"
    run = f"<script>document.title = JSON.stringify({{found: (() => {{{script}}})(), faults: window.faults ?? []}})</script>"
    probe.write_text(path.read_text().replace("<head>", "<head>" + catch).replace("</body>", run + "</body>"))
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={width},900",
        "--dump-dom",
    ]
    done = subprocess.run([*command, probe.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None
    result = json.loads(
        title[1].replace("&quot;", '"').replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    )
    assert result["faults"] == []
    return result["found"]


def test_the_page_loads_and_the_map_answers_clicks(tmp_path):
    found = in_browser(
        page(tmp_path),
        """
        const circles = document.querySelectorAll("#map circle");
        const before = document.querySelector("#detail pre").textContent;
        document.querySelector('#map circle[data-state="2"]').dispatchEvent(new MouseEvent("click"));
        const state = document.querySelector("#detail pre").textContent;
        const levels = document.querySelectorAll("#detail .level").length;
        document.querySelectorAll("#trajectories button")[1].click();
        return { circles: circles.length, before, state, levels, charts: document.querySelectorAll("#charts svg").length,
          taken: document.querySelectorAll("#map path.taken").length,
          chosen: document.querySelectorAll("#map circle.chosen").length,
          steps: document.querySelectorAll("#episode details").length,
          episode: document.querySelector("#episode").textContent, lead: document.querySelector("#lead").textContent };
        """,
    )
    assert (found["circles"], found["charts"], found["levels"]) == (3, 8, 2)
    assert found["before"] == "in <room> A" and found["state"] == "in <room> C"
    assert (found["taken"], found["chosen"], found["steps"]) == (2, 1, 3)  # y: A → B → C
    assert "return 0.00" in found["episode"]
    assert "</script><b>" in found["lead"]


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen(width, tmp_path):
    found = in_browser(
        page(tmp_path),
        "return { page: document.documentElement.scrollWidth, screen: document.documentElement.clientWidth };",
        width,
    )
    assert found["page"] <= found["screen"]


def test_a_run_ends_with_its_report(tmp_path, capsys):
    folder = tmp_path / "run"
    small = "--threads 1 --iterations 1 --warm-start.games 10 --warm-start.epochs 1 --tasks-per-iteration 2 --group-size 4"
    assert main(["train", *small.split(), "--evaluation-games", "6", "--out", str(folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (folder / "report.html").read_text()
    data = json.loads(text.split("const DATA = ")[1].split(";\nconst $")[0])
    assert data["sample"]["iteration"] == 1
    assert data["sample"]["tasks"][0]["texts"][data["sample"]["tasks"][0]["rows"][0]["prompt"]].startswith(
        "task"
    )
    assert np.isfinite(data["evaluations"][0]["seconds"])
    (folder / "report.html").unlink()
    # Advantages that a user has computed lie beside the sample, and are no sample.
    samples = folder / "samples"
    out = ["--out", str(samples / "scores.parquet")]
    assert main(["advantages", str(samples / "000001.parquet"), "--estimator", "rloo", *out]) == 0
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").exists()


def test_no_run_no_report(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no run in" in capsys.readouterr().err
