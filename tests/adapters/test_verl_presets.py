"""The published settings in verl's names: equal to those of `hgpo train`, setting by setting."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from hgpo.adapters.verl.launch import compose, preset_file, preset_names
from hgpo.cli import main
from hgpo.errors import SettingError
from hgpo.training.presets import PRESETS

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

DOCS = Path(__file__).parents[2] / "docs" / "verl.md"
NOT_IN_VERL = {
    "subsample_below": 0.0,
    "reading.tasks": 0,
    "warm_start.tasks": 0,
    "learning_rate_decay.final": 0.0,
    "entropy_decay.shape": "constant",
    "entropy_decay.final": 0.0,
}
"""What verl cannot do otherwise: the presets have to have it off."""
WORDS = {"tokens": "token-mean"}


def table() -> dict[str, list[str]]:
    """For each setting of `hgpo train`, the settings of verl whose product it is, as the docs say."""
    rows = re.findall(r"^\| `([\w.]+)`.* \| (`[\w.]+`(?: × `[\w.]+`)?).*\|$", DOCS.read_text(), re.MULTILINE)
    return {ours: re.findall(r"`([\w.]+)`", theirs) for ours, theirs in rows}


def test_presets_are_those_of_hgpo_train():
    assert preset_names() == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_published_setting(name):
    from omegaconf import OmegaConf

    config = compose(preset_file(name), [])
    published = {setting: value for setting, (value, _) in PRESETS[name].values.items()}
    assert set(published) == set(table()) | set(NOT_IN_VERL)
    for setting, value in published.items():
        if setting in NOT_IN_VERL:
            assert value == NOT_IN_VERL[setting]
            continue
        found = [OmegaConf.select(config, theirs, throw_on_missing=True) for theirs in table()[setting]]
        product = found[0] * found[1] if len(found) == 2 else found[0]
        assert product == WORDS.get(value, value), setting
    assert config.hgpo.env.type == PRESETS[name].environment
    assert config.trainer.v1.trainer_mode == "hgpo_sync"
    assert config.algorithm.adv_estimator == "stepwise_hgpo"
    actor = config.actor_rollout_ref.actor
    assert (actor.use_kl_loss, actor.kl_loss_type) == (True, "low_var_kl")


@pytest.mark.parametrize(
    ("overrides", "depth"),
    [
        ([], 2),
        (["hgpo.prompt_history=4"], 4),
        (["hgpo.prompt_history=4", "algorithm.stepwise.hgpo.history_length=1"], 1),
    ],
)
def test_hgpo_is_as_deep_as_the_prompt_shows_unless_told(overrides, depth):
    from hgpo.adapters.verl.configuration import configured_estimator

    config = compose(preset_file("alfworld-7b"), overrides)
    assert configured_estimator(config).history_length == depth  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", PRESETS)
def test_verl_accepts_it(name, monkeypatch):
    """verl's own checks, and this package's, on tasks that need no data."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    from hgpo.adapters.verl.configuration import check_configuration

    config = compose(preset_file(name), ["hgpo.env.type=household"])
    check_configuration(config)
    validate_config(
        config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
    )


def test_a_file_of_ones_own(tmp_path, capsys):
    """The output of `hgpo verl preset` can be edited and composed in any folder."""
    assert main(["verl", "preset", "webshop-7b"]) == 0
    text = capsys.readouterr().out
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("max_steps: 30", "max_steps: 15"))
    config = compose(mine, ["algorithm.stepwise.hgpo.alpha=2.0"])
    assert (config.hgpo.env.max_steps, config.algorithm.stepwise.hgpo.alpha) == (15, 2.0)
    assert config.data.train_batch_size == 16


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.total_step=3", "Could not override 'trainer.total_step'"),
        ("trainer", "Error parsing override 'trainer'"),
    ],
)
def test_overrides_that_do_not_fit(override, message, capsys):
    with pytest.raises(SettingError, match=message) as error:
        compose(preset_file("alfworld-1.5b"), [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "give one of --preset NAME and --config FILE"),
        (["train", "--preset", "alfworld"], "no preset 'alfworld': choose from alfworld-1.5b, alfworld-7b"),
        (
            ["train", "--config", "no.yaml"],
            "no file no.yaml; hgpo verl preset NAME > no.yaml writes one to start from",
        ),
        (["preset", "x"], "no preset 'x'"),
        (["train", "--preset", "alfworld-1.5b"], "no ALFWorld games in "),
        (
            ["train", "--preset", "alfworld-1.5b", "hgpo.env.type=household", "data.val_files=[test]"],
            "data names the split 'test', but household has train, valid_seen",
        ),
        (["trian"], "check, train, preset"),
    ],
)
def test_wrong_use_is_one_line(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    assert main(["verl", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.splitlines()[-1].startswith("hgpo: ")
    assert "Traceback" not in error
