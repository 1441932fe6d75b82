"""The index of rollouts: filters, sorting, pages, and progress."""

from __future__ import annotations

import json

import pytest
from view_runs import steps_of, write_iteration, write_run

from hgpo.errors import SettingError
from hgpo.rollout_files import write_rollouts
from hgpo.view.rollouts import Filter, Rollouts
from hgpo.view.sources import open_source

OWN = json.dumps({"name": "own"})


@pytest.fixture
def rollouts(tmp_path) -> Rollouts:
    # Three iterations of two tasks, each with one rollout that is won and one that is lost.
    return Rollouts([open_source(write_run(tmp_path / "run"), {}, None)])


def found(rollouts: Rollouts, wanted: Filter | None = None, **settings) -> list[tuple[int, str]]:
    answer = rollouts.find(0, wanted or Filter(), OWN, **settings)
    return [
        (row["iteration"], row["trajectory"].removeprefix("0/").removeprefix("1/")) for row in answer.rows
    ]


def test_all_rollouts_the_latest_first(rollouts):
    latest = ["train/cool0/0", "train/cool0/1", "train/heat/0", "train/heat/1"]
    assert found(rollouts)[:4] == [(3, name) for name in latest]
    assert [iteration for iteration, _ in found(rollouts, descending=False)] == [1] * 4 + [2] * 4 + [3] * 4


def test_what_is_told_of_a_rollout(rollouts):
    row = rollouts.find(0, Filter(won=True, iteration=(2, 2), task_type="heat"), OWN).rows[0]
    # In both steps of the won rollout 10 against 0: 10 − 5.
    assert row["advantages"] == [5.0, 5.0]
    assert (row["advantage"], row["reward"], row["steps"], row["won"]) == (5.0, 10.0, 2, True)
    assert (row["task"], row["type"], row["instruction"]) == ("train/heat", "heat", "heat the egg")
    assert row["contradictions"] == 0


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Filter(iteration=(2, None)), 8),
        (Filter(iteration=(None, 1)), 4),
        (Filter(won=False), 6),
        (Filter(task_type="cool"), 6),
        (Filter(task="COOL1"), 2),
        (Filter(task="the egg"), 12),
        (Filter(steps=(3, None)), 0),
        (Filter(reward=(10, 10)), 6),
        (Filter(advantage=(None, -1)), 6),
        (Filter(text="Open"), 6),
        (Filter(text="hall, step 1", won=True, iteration=(1, 1)), 2),
        (Filter(text="nowhere"), 0),
    ],
)
def test_filters(wanted, count, rollouts):
    assert rollouts.find(0, wanted, OWN).total == count


def test_pages_and_sorting(rollouts):
    every = found(rollouts, sort="reward")
    rewards = [row["reward"] for row in rollouts.find(0, Filter(), OWN, sort="reward").rows]
    assert rewards == [10.0] * 6 + [0.0] * 6
    pages = [found(rollouts, sort="reward", first=first, count=5) for first in (0, 5, 10)]
    assert [len(page) for page in pages] == [5, 5, 2] and pages[0] + pages[1] + pages[2] == every


def test_an_answer_goes_on_where_the_last_one_stopped(rollouts):
    # With no time left, each answer reads one iteration more than the last.
    answers = [rollouts.find(0, Filter(), OWN, seconds=-1.0) for _ in range(4)]
    assert [(answer.read, answer.total) for answer in answers] == [(1, 4), (2, 8), (3, 12), (3, 12)]
    assert {answer.batches for answer in answers} == {3}


def test_new_and_changed_iterations_are_seen(rollouts, tmp_path):
    assert rollouts.find(0, Filter(), OWN).total == 12
    write_iteration(tmp_path / "run", 4, steps_of(4, wins="110"))
    assert rollouts.find(0, Filter(), OWN).total == 18
    write_rollouts(tmp_path / "run" / "rollouts" / "000004.parquet", steps_of(4, wins="1"))
    assert rollouts.find(0, Filter(), OWN).total == 14


def test_wrong_credit_stands_out(tmp_path):
    # The rewards of iteration 2 are paid for failure: the file says who won.
    folder = write_run(tmp_path / "run", iterations=1)
    steps = steps_of(2)
    won = [trajectory.endswith("/1") for trajectory in steps.trajectory_id.tolist()]
    kinds = ["cool" if "cool" in task else "heat" for task in steps.task_id.tolist()]
    write_rollouts(folder / "rollouts" / "000002.parquet", steps, details={"won": won, "task_type": kinds})
    rollouts = Rollouts([open_source(folder, {}, None)])
    answer = rollouts.credit_by_type(0, OWN)
    # [type, iteration, pairs, misordered pairs, steps, contradictions, rollouts, won]: one pair per task.
    assert answer["types"] == ["cool", "heat"]
    assert sorted(answer["cells"]) == [
        [kind, iteration, 1, int(iteration == 2), 4, 0, 2, 1] for kind in (0, 1) for iteration in (1, 2)
    ]
    worst = rollouts.find(0, Filter(), OWN, sort="against").rows[0]
    assert (worst["iteration"], worst["won"], worst["advantage"]) == (2, False, 5.0)


def test_any_estimator_shows_its_advantages(rollouts):
    def advantages(credit: dict) -> list[float]:
        rows = rollouts.find(0, Filter(iteration=(1, 1), won=True, task_type="heat"), json.dumps(credit)).rows
        return rows[0]["advantages"]

    assert advantages({"name": "dr_grpo"}) == [5.0, 5.0]
    # The last reward is discounted once in the first step: 0.5 · 10 − 0.5 · 5.
    settings = {"discount": 0.5, "normalization": "mean", "history_length": 0}
    assert advantages({"name": "hgpo", "settings": settings}) == [2.5, 5.0]
    for credit, words in [
        ({"name": "os:system"}, "no estimator 'os:system'"),
        ({"name": "hgpo", "settings": {"discont": 1}}, "did you mean discount"),
        ({"name": "ppo"}, "needs the column value"),
        ({"name": "recorded"}, "no column advantage"),
    ]:
        with pytest.raises(SettingError, match=words):
            rollouts.find(0, Filter(), json.dumps(credit))


def test_advantages_that_the_file_recorded(tmp_path):
    steps = steps_of(1)
    recorded = [float(row) for row in range(len(steps))]
    write_rollouts(tmp_path / "r.parquet", steps, details={"advantage": recorded})
    rollouts = Rollouts([open_source(tmp_path / "r.parquet", {}, None)])
    rows = rollouts.find(0, Filter(), json.dumps({"name": "recorded"})).rows
    assert [row["advantages"] for row in rows] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    # The lost rollouts, the second and the fourth, have more than they are worth: returns 0 against 10.
    assert [row["contradictions"] for row in rows] == [0, 2, 0, 2]


def test_a_task_and_the_answers_of_a_rollout(rollouts):
    task = rollouts.task(0, 2, "train/heat", OWN)
    assert (task["type"], task["instruction"], task["won"]) == ("heat", "heat the egg", [True, False])
    assert [t["id"] for t in task["task"]["trajectories"]] == ["1/train/heat/0", "1/train/heat/1"]
    answers = rollouts.answers(0, 2, "1/train/heat/1")
    assert answers["prompts"] == ["1 0", "1 1"] and answers["pieces"] == [["1 ", "7 "]] * 2
    assert answers["logprobs"] == [[-0.5, -3.0]] * 2
    for question in (lambda: rollouts.task(0, 2, "train/no", OWN), lambda: rollouts.answers(0, 9, "x")):
        with pytest.raises(SettingError):
            question()


def test_tasks_that_two_runs_have_in_common(tmp_path):
    sources = [
        open_source(write_run(tmp_path / name, count), {}, None) for name, count in (("a", 3), ("b", 2))
    ]
    common = Rollouts(sources).common_tasks(0, 1, OWN)["tasks"]
    assert {each["task"]: (each["first"], each["second"]) for each in common} == {
        "train/cool1": ([1], [1]),
        "train/cool2": ([2], [2]),
        "train/heat": ([1, 2, 3], [1, 2]),
    }
    # With itself, a run has those tasks in common that were tried more than once.
    assert [each["task"] for each in Rollouts(sources).common_tasks(0, 0, OWN)["tasks"]] == ["train/heat"]
