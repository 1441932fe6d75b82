"""Presets: what they resolve to, where each value comes from, and how the command line changes them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hgpo.cli import main
from hgpo.cli.compare import with_games
from hgpo.cli.train import TrainCommand, parse_train, settings_of
from hgpo.envs import HouseholdSuite, SokobanSuite, WebshopSuite
from hgpo.errors import SettingError
from hgpo.estimators import HBC, HGPO, GiGPO
from hgpo.training.config import TrainConfig, depth_warning, from_json, to_json
from hgpo.training.losses import PolicyLoss
from hgpo.training.presets import METHODS, PRESETS, explained, model_config, preset_config


def command(*args) -> Any:
    return parse_train(args)


def test_the_published_alfworld_run():
    # arXiv 2602.22817: 16 tasks × 8 rollouts of at most 50 steps, 160 iterations, K = 2, α = 1, γ = 0.95,
    # prompts of 4096 and responses of 512 tokens, rate 1e-6, mini-batches of 256 rows, β = 0.01.
    config: Any = preset_config("alfworld-1.5b")
    assert config.model == "Qwen/Qwen2.5-1.5B-Instruct"
    assert (config.tasks_per_iteration, config.group_size, config.iterations) == (16, 8, 160)
    assert (config.max_prompt_tokens, config.max_response_tokens) == (4096, 512)
    assert config.env.max_steps == 50 and config.env.success_reward == 10.0
    assert config.estimator == dataclasses.replace(HGPO.paper(), invalid_penalty=0.1)
    assert (config.prompt_history, config.estimator.history_length) == (2, 2)
    assert (config.learning_rate, config.learning_rate_warmup, config.ppo_epochs) == (1e-6, 0, 1)
    assert (config.mini_batch_rows, config.loss.kl_coefficient) == (256, 0.01)
    assert (config.temperature, config.evaluation_temperature) == (1.0, 0.4)
    assert config.response == "think_action" and config.warm_start.tasks == 0 and config.subsample_below == 0
    assert preset_config("alfworld-7b") == dataclasses.replace(config, model="Qwen/Qwen2.5-7B-Instruct")
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_shows_every_setting_with_a_source(name, capsys):
    shown = {setting: (value, source) for setting, value, source in explained(name)}

    def leaves(config, prefix=""):
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            yield from (
                leaves(value, f"{prefix}{field.name}.")
                if dataclasses.is_dataclass(value)
                else [prefix + field.name]
            )

    expected = {setting for setting in leaves(TrainConfig()) if not setting.startswith("env.")}
    assert expected <= shown.keys()
    for setting, told in PRESETS[name].values.items():
        assert shown[setting] == told
    assert main(["presets", name]) == 0
    printed = capsys.readouterr().out
    assert all(setting in printed and source in printed for setting, (_, source) in shown.items())


def test_sampo_on_top_of_the_published_run():
    # arXiv 2602.21534: GSPO's ratio and mean over responses, with the bounds of table S1 for ALFWorld, GiGPO's
    # advantages, dynamic sampling. All else is the run's.
    run: Any = preset_config("alfworld-1.5b")
    config = command("--preset", "alfworld-1.5b", "--preset", "sampo")
    loss = PolicyLoss(ratio="sequence", clip_low=3e-3, clip_high=4e-3, average="rows", kl_coefficient=0.01)
    assert config.loss == loss and config.estimator == GiGPO(invalid_penalty=0.1)
    assert (config.dynamic_sampling_rounds, config.old_logprobs) == (3, "recomputed")
    changed = {"loss", "estimator", "dynamic_sampling_rounds", "old_logprobs"}
    for field in dataclasses.fields(TrainConfig):
        if field.name not in changed:
            assert getattr(config, field.name) == getattr(run, field.name)
    assert preset_config("alfworld-1.5b", "sampo") == TrainConfig(**settings_of(config))


def test_the_published_losses():
    base: Any = command()
    gspo, cispo, sapo = (command("--preset", name) for name in ("gspo", "cispo", "sapo"))
    assert gspo.estimator == cispo.estimator == sapo.estimator == base.estimator
    kept: Any = {"entropy_coefficient": 0.05, "kl_coefficient": 0.0}
    assert gspo.loss == PolicyLoss("sequence", "ppo", clip_low=3e-4, clip_high=4e-4, average="rows", **kept)
    # No lower bound, and rows with e^(mean log ratio) < e^−0.003 masked.
    assert cispo.loss == PolicyLoss("token", "cispo", clip_low=1.0, mask_below=0.997, **kept)
    assert sapo.loss == PolicyLoss("token", "sapo", mask_below=0.997, average="rows", **kept)


def test_methods_combine_with_any_estimator_model_and_games():
    config = command(
        "--preset", "gspo", "--preset", "alfworld-7b", "estimator:hbc", "--estimator.discount", "0.9"
    )
    assert isinstance(config.estimator, HBC) and config.estimator.discount == 0.9
    assert (config.loss.ratio, config.model) == ("sequence", "Qwen/Qwen2.5-7B-Instruct")
    assert command("--preset", "cispo", "--model", "owner/name").max_prompt_tokens == 4096
    assert command("--preset", "sampo", "env:webshop").response == "number"
    assert command("--preset", "sampo", "--loss.mask-below", "0.9").loss.mask_below == 0.9


OF_CLIP = {
    "ppo": {"clip_low", "clip_high", "dual_clip"},
    "cispo": {"clip_low", "clip_high"},
    "sapo": {"gate_positive", "gate_negative"},
}
"""The settings of the loss that only some clips read."""


@pytest.mark.parametrize("before", METHODS)
@pytest.mark.parametrize("name", METHODS)
def test_of_two_methods_the_last_one_decides_the_loss(before, name):
    """Nothing of the first is left that the second one's loss reads, such as a mask."""
    both, alone = command("--preset", before, "--preset", name).loss, command("--preset", name).loss
    unread = set().union(*OF_CLIP.values()) - OF_CLIP[alone.clip]
    kept = {setting: getattr(alone, setting) for setting in unread}
    assert dataclasses.replace(both, **kept) == alone


@pytest.mark.parametrize("name", METHODS)
def test_a_method_shows_what_it_changes_with_a_source(name, capsys):
    shown = list(explained(name))
    assert [setting for setting, _, _ in shown] == list(METHODS[name].values)
    whole = {setting: (value, source) for setting, value, source in explained("alfworld-1.5b", name)}
    assert all(whole[setting] == (value, source) for setting, value, source in shown)
    assert main(["presets", "alfworld-1.5b", name]) == 0
    printed = capsys.readouterr().out
    assert all(source in printed for _, _, source in shown)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["alfworld-1.5b", "webshop-7b"], "alfworld-1.5b and webshop-7b are presets of whole runs"),
        (["alfworld"], "no preset 'alfworld': choose from alfworld-1.5b.* and from gspo"),
    ],
)
def test_presets_that_do_not_go_together(names, message):
    with pytest.raises(SettingError, match=message):
        command(*(word for name in names for word in ("--preset", name)))
    with pytest.raises(SettingError, match="gspo: add the preset of a run: alfworld"):
        preset_config("gspo")


def test_what_is_given_changes_the_preset():
    changed = command("--preset", "alfworld-7b", "--group-size", "4", "--estimator.history-length", "4")
    assert (changed.group_size, changed.estimator.history_length, changed.iterations) == (4, 4, 160)
    assert isinstance(command("--preset=alfworld-7b", "estimator:gigpo").estimator, GiGPO)
    assert command("--preset", "alfworld-1.5b", "env:household").env.max_steps == 15
    # Other games have their own defaults, the same games those of the preset: 50 steps, and a win pays 10.
    preset: Any = preset_config("alfworld-1.5b")
    same = command("--preset", "alfworld-1.5b", "env:alfworld", "--env.max-steps", "7").env
    assert same == dataclasses.replace(preset.env, max_steps=7)
    same = command("--preset", "alfworld-1.5b", "estimator:hgpo", "--estimator.alpha", "2").estimator
    assert same == dataclasses.replace(preset.estimator, alpha=2.0)


def test_a_comparison_takes_the_presets_games_unless_it_names_others():
    preset = ["--preset", "alfworld-1.5b"]
    assert parse_train(preset).env == preset_config("alfworld-1.5b").env
    assert parse_train(with_games("household", preset)).env == HouseholdSuite()
    assert parse_train(with_games("household", ["env:webshop"])).env == WebshopSuite()
    # Its model made from scratch has the settings of its games.
    assert parse_train(with_games("webshop", [])).response == "number"
    # A setting of the games themselves is one of those, too, and gives way to what is said.
    assert parse_train(with_games("sokoban", [])).env == SokobanSuite(form="coordinates")
    assert parse_train(with_games("household", ["env:sokoban"])).env == SokobanSuite(form="coordinates")
    assert parse_train(["env:sokoban", "--env.form", "grid"]).env == SokobanSuite()


@pytest.mark.parametrize(
    ("words", "shown", "depth"),
    [
        ([], 2, 2),
        (["--prompt-history", "4"], 4, 4),
        (["--prompt-history=4", "estimator:hgpo", "--estimator.alpha", "0"], 4, 4),
        (["--prompt-history", "4", "--estimator.history-length", "1"], 4, 1),
        (["--estimator.history-length", "4"], 2, 4),
        (["--preset", "alfworld-7b", "--prompt-history", "4"], 4, 4),
        (["env:webshop"], 2, 2),
        (["env:sokoban"], 0, 0),
        (["env:sokoban", "estimator:hgpo", "--estimator.alpha", "0"], 0, 0),
        (["env:sokoban", "--estimator.history-length", "2"], 0, 2),
    ],
)
def test_hgpo_is_as_deep_as_the_prompt_shows_unless_told(words, shown, depth):
    config = command(*words)
    assert (config.prompt_history, config.estimator.history_length) == (shown, depth)
    assert (depth_warning(config) is not None) == (depth > shown)


def test_from_python_hgpo_is_as_deep_as_the_prompt_shows_too():
    for shown in (0, 2, 4):
        config = TrainConfig(prompt_history=shown)
        assert config.estimator == command("--prompt-history", str(shown)).estimator
        assert isinstance(config.estimator, HGPO) and config.estimator.history_length == shown
        assert depth_warning(config) is None
    # An estimator that is given is taken as it is.
    assert TrainConfig(prompt_history=4, estimator=HGPO(history_length=1)).estimator == HGPO(history_length=1)


def test_an_estimator_without_levels_has_no_depth_to_warn_of():
    config = command("--prompt-history", "0", "estimator:gigpo")
    assert config.prompt_history == 0 and depth_warning(config) is None


def test_a_model_alone_brings_the_published_settings_for_models_but_no_games():
    given = command("--model", "owner/name", "--learning-rate", "1e-5")
    assert (given.model, given.learning_rate) == ("owner/name", 1e-5)
    assert (given.response, given.max_prompt_tokens, given.warm_start.tasks) == ("think_action", 4096, 0)
    assert given.env == TrainConfig().env
    assert model_config("owner/name").precision == "auto"
    assert command("--seed", "1") == dataclasses.replace(TrainCommand(), seed=1)


def test_the_published_webshop_run_needs_the_published_products(monkeypatch):
    monkeypatch.delenv("WEBSHOP_DATA", raising=False)
    with pytest.raises(SettingError, match=r"set \$WEBSHOP_DATA"):
        preset_config("webshop-1.5b")
    monkeypatch.setenv("WEBSHOP_DATA", "somewhere")
    config: Any = preset_config("webshop-1.5b")
    # arXiv 2602.22817: at most 30 steps, mini-batches of 64 rows.
    assert (config.env.max_steps, config.mini_batch_rows, config.env.folder) == (30, 64, "somewhere")


def test_games_bring_settings_for_a_model_made_from_scratch():
    shop = command("env:webshop")
    assert (shop.response, shop.prompt_history, shop.max_prompt_tokens) == ("number", 2, 768)
    assert command("--response", "text", "env:webshop").response == "text"
    assert command() == command("env:household") == TrainCommand()
    # A given model has its own.
    assert command("--model", "openai-community/gpt2", "env:webshop").response == "think_action"
