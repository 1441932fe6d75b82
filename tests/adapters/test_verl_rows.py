"""The fields of verl's rows, the dataset of tasks, and the checks of the plugin's two sections."""

from __future__ import annotations

import json
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from own_estimator import SameStep
from verl_rows import row

from hgpo.adapters.step_records import no_valid_answer, step_table
from hgpo.adapters.task_stream import STREAM, TaskReference
from hgpo.adapters.verl.configuration import check_configuration
from hgpo.adapters.verl.rows import step_rows
from hgpo.adapters.verl.settings import StepwiseSettings, estimator_of
from hgpo.adapters.verl.tasks import TaskDataset
from hgpo.envs import ENVIRONMENTS, HouseholdSuite
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, GRPO, HGPO
from hgpo.random_streams import TASKS
from hgpo.training.config import TrainConfig
from hgpo.training.tasks import training_tasks

needs_omegaconf = pytest.mark.skipif(find_spec("omegaconf") is None, reason="verl is not installed")


class TestRows:
    def test_a_step_comes_back_as_it_went(self):
        sent = row("t", 3, 2, reward=1.5, state_key=("a", frozenset({1})))
        (back,), places = step_rows([sent.as_field()], ["t"])
        assert back == sent
        assert places.tolist() == [0]

    def test_padding_is_left_out(self):
        """A padding row has another row's step under a uid of its own. Rejects: one that takes every row."""
        real = [row("t", 0, 0), row("t", 0, 1), row("u", 0, 0)]
        fields = [real[0].as_field(), real[0].as_field(), real[1].as_field(), real[2].as_field()]
        rows, places = step_rows(fields, ["t", "pad12", "t", "u"])
        assert rows == real
        assert places.tolist() == [0, 2, 3]

    def test_rows_of_another_agent_loop_are_refused(self):
        with pytest.raises(SettingError, match=r"row 1 .*default_agent_loop=hgpo"):
            step_rows([row().as_field(), {"turn_scores": []}], ["t", "t"])

    def test_table(self):
        """Rows in any order; a task drawn twice is two tasks, as its uids differ."""
        rows = [row("t", 1, 1, reward=2.0), row("u", 0, 0), row("t", 1, 0, action_valid=False)]
        steps = step_table(rows, policy_version=[4, 4, 5])
        assert steps.task_code.tolist() == [0, 1, 0]
        assert steps.trajectory_id.tolist() == ["t_1", "u_0", "t_1"]
        assert steps.step_index.tolist() == [1, 0, 0]
        assert steps.reward.tolist() == [2.0, 0.0, 0.0]
        assert steps.action_valid is not None and steps.action_valid.tolist() == [True, True, False]
        assert steps.policy_version is not None and steps.policy_version.tolist() == [4, 4, 5]

    def test_further_state_keys_travel(self):
        keys = [{"observation": "o", "full_state": (step, "x")} for step in (0, 1)]
        sent = [row("t", 0, step, state_keys=keys[step]) for step in (0, 1)]
        rows, _ = step_rows([each.as_field() for each in sent], ["t", "t"])
        # verl's queue may turn a tuple into a list on the way.
        queued = json.loads(json.dumps([each.as_field() for each in sent]))
        assert step_rows(queued, ["t", "t"])[0] == rows == sent
        steps = step_table(rows)
        assert steps.state_keys["full_state"].tolist() == [(0, "x"), (1, "x")]
        assert steps.codes_of_key("observation").tolist() == [0, 0]

    def test_keys_are_tuples_again_after_a_queue_that_knows_lists_only(self):
        sent = row("t", 0, 0, state_keys={"observation_and_commands": ("o", ("go", "take"))})
        (back,), _ = step_rows([json.loads(json.dumps(sent.as_field()))], ["t"])
        assert back == sent


def dataset(files: str | list[str], max_samples: int = -1, **section: object) -> TaskDataset:
    config = {"hgpo": {"env": {"type": "household", "split_size": 6}, **section}}
    return TaskDataset(
        files, None, SimpleNamespace(get=config.get, train_batch_size=3), max_samples=max_samples
    )


class TestTasks:
    def test_training_tasks_are_those_of_hgpo_train(self):
        """Same seed, same games in the same order. Rejects: another stream, or a draw that ignores the seed."""
        config = TrainConfig(seed=7, tasks_per_iteration=3)
        drawn = dataset("train", seed=7)
        suite = HouseholdSuite()
        for iteration in (0, 1):
            theirs = [task.id for task in training_tasks(config, 3, TASKS, iteration)]
            references = [
                TaskReference(**drawn[3 * iteration + number]["task_reference"]) for number in range(3)
            ]
            ours = [suite.tasks(d.split, d.count, d.seed)[d.number].id for d in references]
            assert ours == theirs
        assert dataset("train", seed=8)[0]["task_reference"] != drawn[0]["task_reference"]

    def test_panels_follow_one_another(self):
        """Two held-out splits of 6: the seventh task is the first one of the second split."""
        both = dataset(["valid_seen", "valid_unseen"])
        assert len(both) == 12
        assert [both[i]["data_source"] for i in (5, 6)] == ["valid_seen", "valid_unseen"]
        assert [both[i]["task_reference"]["number"] for i in (5, 6, 11)] == [5, 0, 5]
        with pytest.raises(IndexError):
            both[12]

    def test_sizes(self):
        assert len(dataset("train")) == STREAM
        assert len(dataset(["valid_seen", "valid_unseen"], max_samples=2)) == 4

    def test_unknown_split(self):
        with pytest.raises(SettingError, match="'test', but household has train, valid_seen"):
            dataset("test")


class TestSettings:
    def test_the_old_name_of_the_prompts_history_is_accepted(self):
        with pytest.warns(FutureWarning, match="hgpo.history_length is deprecated: set hgpo.prompt_history"):
            assert StepwiseSettings.of({"prompt_history": 2, "history_length": 4}).prompt_history == 4
        # The presets name it, without a value.
        assert StepwiseSettings.of({"prompt_history": 3, "history_length": None}).prompt_history == 3

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            (None, "no section hgpo: start from a preset"),
            ({"history": 2}, "hgpo.history: no such setting; did you mean prompt_history"),
            ({"prompt_history": -1}, "hgpo.prompt_history is -1: expected 0 or more"),
            ({"prompt_history": None}, "hgpo.prompt_history is None: expected 0"),
            ({"tasks_per_update": 0}, "hgpo.tasks_per_update is 0: expected 1"),
            ({"response": "prose"}, "hgpo.response is 'prose': expected one of number, text, think_action"),
            ({"env": {"max_steps": 3}}, "hgpo.env has no type"),
        ],
    )
    def test_what_cannot_work_is_refused(self, section, message):
        with pytest.raises(SettingError, match=message):
            StepwiseSettings.of(section)

    @pytest.mark.parametrize(
        ("env", "message"),
        [
            (
                {"type": "chess"},
                f"hgpo.env.type chess: choose from {', '.join(ENVIRONMENTS)}, or name a class of your own by MOD",
            ),
            ({"type": "no_such:Suite"}, "No module named 'no_such'"),
            ({"type": "hgpo.envs:Suite"}, "has no attribute 'Suite'"),
            (
                {"type": "household", "max_step": 3},
                "hgpo.env.max_step: no such setting; did you mean max_steps",
            ),
        ],
    )
    def test_games_that_are_not_there(self, env, message):
        with pytest.raises(SettingError, match=message):
            StepwiseSettings(env=env).suite()

    def test_games_of_ones_own(self):
        suite = StepwiseSettings(env={"type": "hgpo.envs:HouseholdSuite", "max_steps": 3}).suite()
        assert suite == HouseholdSuite(max_steps=3)

    def test_an_estimator_of_ones_own_has_its_settings_under_its_classs_name(self):
        own = estimator_of("stepwise_own_estimator:SameStep", {"SameStep": {"discount": 0.5}})
        assert own == SameStep(discount=0.5)
        with pytest.raises(SettingError, match=r"stepwise\.SameStep\.gamma: no such setting"):
            estimator_of("stepwise_own_estimator:SameStep", {"SameStep": {"gamma": 0.5}})

    def test_every_estimator_by_its_name_and_section(self):
        for name, estimator in ESTIMATORS.items():
            assert estimator_of(f"stepwise_{name}", None) == estimator()
        sections = {"hgpo": {"alpha": 2.0}, "grpo": {"invalid_penalty": 0.5}}
        assert estimator_of("stepwise_hgpo", sections) == HGPO(alpha=2.0)
        assert estimator_of("stepwise_grpo", sections) == GRPO(invalid_penalty=0.5)

    @pytest.mark.parametrize(
        ("name", "sections", "message"),
        [
            ("grpo", {}, "algorithm.adv_estimator is 'grpo': expected one of stepwise_hgpo, stepwise_hbc"),
            ("stepwise_nix", {}, "expected one of stepwise_hgpo"),
            ("stepwise_hgpo", {"hgpo": {"gamma": 1}}, "algorithm.stepwise.hgpo.gamma: no such setting"),
            ("stepwise_hgpo", {"hgpo": {"alpha": -1}}, "algorithm.stepwise.hgpo: alpha is -1"),
        ],
    )
    def test_estimators_that_are_not_there(self, name, sections, message):
        with pytest.raises(SettingError, match=message):
            estimator_of(name, sections)


@needs_omegaconf
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"actor_rollout_ref.rollout.n": 1}, "rollout.n is 1: expected 2 or more"),
        ({"algorithm.adv_estimator": "stepwise_ppo"}, "set critic.enable=True"),
        ({"data.shuffle": True}, "set data.shuffle=False"),
        ({"reward.reward_model.enable": True}, "set reward.reward_model.enable=False"),
        ({"hgpo.tasks_per_update": 17}, "hgpo.tasks_per_update is 17, but data.train_batch_size is 16"),
        ({"hgpo.env.type": "chess"}, "hgpo.env.type chess: choose from"),
        ({"trainer.v1.trainer_mode": "hgpo_separate_async"}, "too small: set hgpo.tasks_per_update"),
    ],
)
def test_configurations_that_cannot_work(change, message):
    from omegaconf import OmegaConf

    config = OmegaConf.create(
        {
            "hgpo": {"env": {"type": "household"}},
            "algorithm": {"adv_estimator": "stepwise_hgpo"},
            "actor_rollout_ref": {"rollout": {"n": 8}},
            "critic": {"enable": False},
            "reward": {"reward_model": {"enable": False}},
            "data": {"shuffle": False, "train_batch_size": 16},
            "trainer": {"v1": {"trainer_mode": "hgpo_sync"}},
        }
    )
    for name, value in change.items():
        OmegaConf.update(config, name, value)
    if message is None:
        check_configuration(config)
    else:
        with pytest.raises(SettingError, match=message):
            check_configuration(config)


def test_verl_draws_the_same_numbers():
    """numpy integers would not pass through verl's queue."""
    assert all(isinstance(value, str | int) for value in dataset("train")[0]["task_reference"].values())
    assert not isinstance(dataset("train")[0]["task_reference"]["seed"], np.integer)


def test_a_batch_without_a_valid_answer_is_told_with_three_of_its_first_steps():
    rows = [
        row("t", rollout, step, action_valid=False, invalid_reason="cut_off")
        for rollout in range(3)
        for step in (1, 0)
    ]
    texts = [f"<think>{number}" for number in range(6)]
    head, *samples, _ = no_valid_answer(rows, texts).splitlines()
    assert head.startswith("WARNING: no answer of the batch was valid")
    assert samples == [f"  t_{i}, step 1, cut_off: '<think>{2 * i + 1}'" for i in range(3)]
