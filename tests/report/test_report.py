"""The report: its data by hand, and the page in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import opened
from tables import walks
from toy_runs import config

from hgpo import GRPO, HBC, HGPO, PPO, RLOO, DrGRPO, GiGPO, ReinforcePlusPlus, StepTable
from hgpo.cli import main
from hgpo.report.data import (
    SampledRollouts,
    group_sizes,
    latest_sample,
    long_data,
    sample_data,
    task_data,
)
from hgpo.report.page import write_page
from hgpo.report.tokens import AS_NUMBERS
from hgpo.rollout_files import write_rollouts


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
    return SampledRollouts(20, steps, estimator(steps), estimator.comparison(steps))


def test_a_task_group_as_a_graph():
    # x: A B B with 4 at the end, y: A C with 0. Three states; A first (layer 0), then B and C (layer 1).
    data = task_data(sampled({"x": "ABB", "y": "AC"}, {"x": 4.0, "y": 0.0}), 0)
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
    assert (first["return"], first["advantage"], first["valid"]) == (4.0, 2.0, True)
    # Both first steps share a group at level 0; level 1 does not exist for them.
    assert first["groups"][0] == data["rows"][3]["groups"][0] and first["groups"][1] == -1
    # Equal texts are in the file once: "go", and what was seen in A, B and C.
    assert sorted(data["texts"]) == ["go", "in <room> A", "in <room> B", "in <room> C"]


def test_what_was_read_and_answered():
    columns = {
        "prompt_tokens": [[1, 0], [1, 1], [1, 0]],
        "response_tokens": [[7], [7, 8], []],
        "response_logprobs": [[-0.25], [0.0, -1.23456], []],
    }
    # Each distinct prompt stands there once.
    assert long_data(columns, AS_NUMBERS) == {
        **{"prompts": ["1 0", "1 1"], "prompt": [0, 1, 0], "response": ["7", "7 8", ""]},
        **{"pieces": [["7 "], ["7 ", "8 "], []], "logprobs": [[-0.25], [0.0, -1.235], []]},
    }
    texts = {"prompt": ["p", "p"], "response": ["a", "b"]}
    assert long_data(texts, AS_NUMBERS) == {"prompts": ["p"], "prompt": [0, 0], "response": ["a", "b"]}


def told(estimator: Any, steps: StepTable, folder: Path) -> list[dict[str, Any]]:
    """The rows of a report's only task, in the order of trajectories and steps."""
    write_rollouts(folder / "000001.parquet", steps)
    sample = latest_sample(config(estimator=estimator), folder)
    assert sample is not None
    (task,) = sample_data(sample, AS_NUMBERS)["tasks"]
    return task["rows"]


def corridors(*endings: str, rewards: list[float]) -> StepTable:
    """One rollout of one step per ending of the observation, each with a state key of its own."""
    rows = range(len(endings))
    return StepTable(
        task_id=["t"] * len(endings),
        trajectory_id=[f"r{row}" for row in rows],
        step_index=[0 for _ in rows],
        state_key=[f"key {row}" for row in rows],
        reward=rewards,
        observation=[f"You are in a corridor with {ending}" for ending in endings],
    )


def test_near_states_that_are_compared_share_a_group_of_the_report(tmp_path):
    # Two texts that differ in one of 35 characters, a third that is another; 0 against 1: mean ½, deviation ½.
    steps = corridors("12 doors", "13 doors", "a view of the sea", rewards=[1.0, 0.0, 5.0])
    one, other, third = told(HGPO(history_length=0, similarity=0.9), steps, tmp_path)
    assert [row["advantage"] for row in (one, other, third)] == pytest.approx([1, -1, 0], abs=1e-5)
    assert one["groups"] == other["groups"] != third["groups"]
    assert [row["peers"] for row in (one, other, third)] == [[1], [1], [0]]


def test_equal_beginnings_share_a_group_of_the_report_where_a_token_stands_before_them(tmp_path):
    rows = told(HGPO(history_length=1, start_token=True), walks(("A", [1.0]), ("A", [0.0])), tmp_path)
    assert rows[0]["groups"] == rows[1]["groups"] == [0, 0]
    rows = told(HGPO(history_length=1), walks(("A", [1.0]), ("A", [0.0])), tmp_path)
    assert rows[0]["groups"] == rows[1]["groups"] == [0, -1]


def test_a_second_visit_is_no_peer_in_the_report_where_the_estimator_has_none(tmp_path):
    # x is in A twice, y once: the rows of x have y, and y has both.
    steps = walks(("AA", [0.0, 1.0]), ("A", [3.0]))
    rows = told(HGPO(history_length=0, peers="other_trajectories"), steps, tmp_path)
    assert [row["peers"] for row in rows] == [[1], [1], [2]]
    rows = told(HGPO(history_length=0), steps, tmp_path)
    assert [row["peers"] for row in rows] == [[2], [2], [2]]


def test_the_report_shows_the_returns_that_are_compared(tmp_path):
    steps = walks(("AB", [1.0, 2.0]), ("A", [0.0]))
    # GRPO compares whole trajectories, 1 + 2 on each row; HGPO what is still to come, 1 + 0.5 · 2 and 2.
    assert [row["return"] for row in told(GRPO(), steps, tmp_path)] == [3.0, 3.0, 0.0]
    assert [row["return"] for row in told(HGPO(discount=0.5), steps, tmp_path)] == [2.0, 2.0, 0.0]
    # PPO's λ-return with λ = 0 is r_t + γ V_{t+1}: 1 + 0.5 · 4, 2 and 0.
    valued = steps.with_values([9.0, 4.0, 7.0])
    shown = told(PPO(gae_lambda=0.0, discount=0.5), valued, tmp_path)
    assert [row["return"] for row in shown] == [3.0, 2.0, 0.0]


EVERY_KIND = [
    HGPO(),
    HGPO(similarity=0.9),
    HGPO(start_token=True, peers="others"),
    HGPO(peers="other_trajectories", episode_level=True, discount=0.5, invalid_penalty=0.1),
    HGPO.reference(level_weights="size", alpha=float("inf")),
    HGPO(level_weights="reliability", history_length=1, propagate_penalty=True, invalid_penalty=0.1),
    GiGPO(similarity=0.9, statistics="rows"),
    GRPO(peers="other_trajectories"),
    DrGRPO(),
    RLOO(),
    ReinforcePlusPlus(baseline="task"),
    PPO(gae_lambda=0.5),
]


@pytest.mark.parametrize("estimator", EVERY_KIND, ids=repr)
def test_a_report_agrees_with_the_advantages(estimator: Any, tmp_path: Path):
    # Two tasks and a rollout alone in a third; no two sums of rewards are equal, so a row has an advantage if
    # and only if it is compared with another.
    walks_of = {"t": ("ABCA", "BAC", "CAB", "AB"), "u": ("AC", "BC"), "v": ("A",)}
    rng = np.random.default_rng(0)
    rows = [
        {
            **{"task_id": task, "trajectory_id": f"{task}{number}", "step_index": step, "state_key": state},
            **{"reward": rng.normal(), "value": rng.normal(), "action_valid": bool(rng.integers(2))},
            "observation": {"A": "12 doors in a row", "B": "13 doors in a row", "C": "the sea"}[state],
        }
        for task, paths in walks_of.items()
        for number, path in enumerate(paths)
        for step, state in enumerate(path)
    ]
    write_rollouts(tmp_path / "000001.parquet", StepTable.from_rows(rows))
    sample = latest_sample(config(estimator=estimator), tmp_path)
    assert sample is not None
    data = sample_data(sample, AS_NUMBERS)
    told = [row for task in data["tasks"] for row in task["rows"]]
    assert len(told) == len(rows)
    for row in told:
        first_level = row["peers"][:1] if isinstance(estimator, ReinforcePlusPlus) else row["peers"]
        assert (row["advantage"] != 0) == any(first_level), row


def test_the_report_names_the_levels_of_its_estimator(tmp_path):
    write_rollouts(tmp_path / "000001.parquet", walks(("AB", [1.0, 2.0]), ("A", [0.0])))
    sample = latest_sample(config(estimator=GiGPO()), tmp_path)
    assert sample is not None
    data = sample_data(sample, AS_NUMBERS)
    assert [level["name"] for level in data["levels"]] == ["episode", "0"]
    assert data["levels"][1]["meaning"] == "the same state"
    # All three rows are of one task; two of them are in A.
    assert data["levels"][0]["sizes"] == [[1, 1.0], [2, 1.0]]
    assert data["levels"][1]["sizes"] == [[1, 1.0], [2, 2 / 3]]


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
    estimator = HGPO(normalization="mean")
    sample = SampledRollouts(1, steps, estimator(steps), estimator.comparison(steps))
    data = sample_data(sample, AS_NUMBERS)
    assert [task["id"] for task in data["tasks"]] == ["lively", "calm"]
    assert sum(data["histogram"]["counts"]) == 4


def page(tmp_path: Path) -> Path:
    sample = sampled({"x": "ABB", "y": "ABC", "z": "AC"}, {"x": 4.0, "y": 0.0, "z": 1.0})
    metrics = [
        {"iteration": i, "success_rate": i / 30, "environment_steps": 10, "steps_mean": 5.0, "valid_action_rate": 0.9,
         "kl": 0.1, "entropy": 0.5, "peer_fraction_0": 0.9, "peer_fraction_1": 0.5, "answer_entropy": 1.5,
         "seconds_rollout": 2.0, "seconds_advantages": 0.1, "seconds_update": 1.0}
        for i in range(1, 21)
    ]  # fmt: skip
    evaluations = [
        {"iteration": i, "split": "valid_seen", "temperature": 0.0, "success_rate": 0.5, "interval_95": [0.4, 0.6],
         "by_kind": {"clean": {"won": 1, "tasks": 2}}, "mean_steps": float("nan"), "seconds": 1.0}
        for i in (0, 20)
    ]  # fmt: skip
    path = tmp_path / "report.html"
    settings = {"estimator": "HGPO", "env": "</script><b>", "seed": "0"}
    data = {"name": "run", "settings": settings, "metrics": metrics, "evaluations": evaluations}
    write_page(data | {"sample": sample_data(sample, AS_NUMBERS)}, path)
    return path


def test_the_page_needs_nothing_from_outside(tmp_path):
    text = page(tmp_path).read_text()
    assert not re.findall(r"(?:src|href)\s*=|@import|url\(", text)
    assert text.count("</script>") == 2  # texts cannot end the script
    assert "NaN" not in embedded(text)


def embedded(text: str) -> str:
    """The page's data."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_page_loads_and_the_map_answers_clicks(tmp_path, browser):
    with opened(browser, page(tmp_path).as_uri()) as shown:
        assert shown.locator("#map circle").count() == 3
        assert shown.locator("#charts svg").count() == 9
        # What a run has not measured has no line and no chart.
        peers = shown.locator("#charts figure", has_text="Steps with a peer").inner_text()
        assert "level 0" in peers and "level 1" in peers and "level 2" not in peers
        answers = shown.locator("#charts figure", has_text="Answers, in nats").inner_text()
        assert "entropy given the prompt" in answers and "mutual information" not in answers
        state = shown.locator("#detail pre").first
        assert state.inner_text() == "in <room> A"
        shown.locator('#map circle[data-state="2"]').click()
        assert state.inner_text() == "in <room> C"
        assert shown.locator("#detail .level").count() == 2
        shown.locator("#trajectories button").nth(1).click()
        # y: A → B → C
        assert shown.locator("#map path.taken").count() == 2
        assert shown.locator("#map circle.chosen").count() == 1
        steps = shown.locator("#episode details")
        assert steps.count() == 3
        steps.nth(1).locator("summary").click(position={"x": 5, "y": 5})
        assert "return 0.00" in steps.nth(1).inner_text()
        # An open step chooses its state, and marks itself among its peers.
        assert state.inner_text() == "in <room> B"
        assert shown.locator("#detail .chip.here").first.inner_text().startswith("2/2")
        assert "</script><b>" in shown.locator("#lead").inner_text()


def test_a_chart_reads_the_values_under_the_pointer(tmp_path, browser):
    with opened(browser, page(tmp_path).as_uri()) as shown:
        figure = shown.locator("#charts figure").first
        box = figure.locator("svg").bounding_box()
        assert box is not None
        # At the right end: iteration 20, of which 20/30 succeed.
        shown.mouse.move(box["x"] + box["width"] * 0.97, box["y"] + box["height"] / 2)
        assert figure.locator("figcaption").inner_text() == "Success, iteration 20"
        assert figure.locator(".key b").first.inner_text() == "67 %"


VALUES = """() => [...document.querySelectorAll("#detail details")].map(node => [
    node.querySelector("summary").textContent,
    [...node.querySelectorAll("tr")].slice(1).map(row => [...row.cells].map(cell => cell.textContent)),
])"""
"""What the tables of values show."""


def written(folder: Path, sample: dict[str, Any]) -> str:
    """The address of the report of a run that has only a sample."""
    data = {"name": "run", "settings": {}, "metrics": [], "evaluations": [], "sample": sample}
    write_page(data, folder / "report.html")
    return (folder / "report.html").as_uri()


def test_a_state_of_the_map_shows_its_value_and_what_each_action_was_worth(tmp_path, browser):
    # B is worth (10 + 0 + 2) / 3 = 4 to whoever comes there; by x 10, by the two invalid actions 1.
    walks = {"p": ("AB", "xx", 10.0), "q": ("AB", "xy", 0.0), "r": ("AB", "xz", 2.0)}
    rows = [
        {
            "task_id": "t",
            "trajectory_id": name,
            "step_index": step,
            "state_key": state,
            "observation": f"in {state}",
            "action": action,
            "action_valid": action == "x",
            "reward": step * reward,
        }
        for name, (states, actions, reward) in walks.items()
        for step, (state, action) in enumerate(zip(states, actions, strict=True))
    ]
    steps = StepTable.from_rows(rows)
    estimator = HBC(history_length=1, discount=0.5, episode_weight=0.0)
    sample = SampledRollouts(1, steps, estimator(steps), estimator.comparison(steps))
    data = sample_data(sample, AS_NUMBERS)
    assert data["pooled"] and data["tasks"][0]["rows"][0]["return"] == 2.0  # 4 halved, whoever goes there
    values = []
    with opened(browser, written(tmp_path, data)) as shown:
        for state in (0, 1):
            shown.locator(f'#map circle[data-state="{state}"]').click()
            values.append(shown.evaluate(VALUES))
        assert shown.locator("#compared").inner_text() == "of reward and discounted value of what followed"
    # In A one action was tried, so that nothing is compared there at either level. Level 1 of B: contrasts of
    # size 1 · 2 / 3 repeat those of level 0, so 6 and −3 stay.
    in_b = ["V 4.00, 2 actions", [["(not valid)", "2", "1.00", "-3.00"], ["x", "1", "10.00", "+6.00"]]]
    assert values == [[["V 2.00, 1 action", [["x", "3", "2.00", "0.00"]]]], [in_b] * 3]


def test_a_state_of_the_map_is_shown_with_the_near_states_that_it_is_compared_with(tmp_path, browser):
    estimator = HGPO(history_length=0, similarity=0.9)
    steps = corridors("12 doors", "13 doors", "a view of the sea", rewards=[1.0, 0.0, 5.0])
    sample = SampledRollouts(1, steps, estimator(steps), estimator.comparison(steps))
    found = []
    with opened(browser, written(tmp_path, sample_data(sample, AS_NUMBERS))) as shown:
        for state in range(3):
            shown.locator(f'#map circle[data-state="{state}"]').click()
            level = shown.locator("#detail .level > div").all_inner_texts()
            found.append([" ".join(text.partition("V ")[0].split()) for text in level])
    title = "Level 0: the same state"
    assert found == [[title, "2 compared: 1/1 +1.002/1 -1.00"]] * 2 + [[title, "no peer: 3/1 0.00"]]


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen(width, tmp_path, browser):
    with opened(browser, page(tmp_path).as_uri(), width) as shown:
        screen = "document.documentElement"
        assert shown.evaluate(f"{screen}.scrollWidth <= {screen}.clientWidth")


def test_a_run_ends_with_its_report(tmp_path, capsys):
    folder = tmp_path / "run"
    small = "--threads 1 --iterations 1 --reading.tasks 0 --warm-start.tasks 10 --warm-start.epochs 1 --tasks-per-iteration 2 --group-size 4"
    assert main(["train", *small.split(), "--evaluation-tasks", "6", "--out", str(folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (folder / "report.html").read_text()
    data = json.loads(embedded(text))
    assert data["sample"]["iteration"] == 1
    answers = data["sample"]["tasks"][0]["answers"]
    assert answers["prompts"][0].startswith("task")
    assert "".join(answers["pieces"][0]) == answers["response"][0]
    assert len(answers["logprobs"][0]) == len(answers["pieces"][0])
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
