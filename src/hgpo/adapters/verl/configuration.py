"""Checks of a whole verl configuration before anything is started."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from hgpo.adapters.verl.settings import (
    PREFIX,
    StepwiseSettings,
    check_sections,
    entropy_credit_of,
    estimator_of,
)
from hgpo.errors import SettingError
from hgpo.estimators import CriticEstimator, Estimator
from hgpo.registry import full_spelling


def plain(section: Any) -> Any:
    """A section as plain values with all references resolved; None if it is missing."""
    return None if section is None else OmegaConf.to_container(section, resolve=True)


def stepwise_settings(config: Any) -> StepwiseSettings:
    """The section `hgpo` of a configuration; see `StepwiseSettings.of`."""
    return StepwiseSettings.of(plain(config.get("hgpo")))


def configured_estimator(config: Any) -> Estimator:
    """The estimator of a configuration; see `estimator_of`."""
    return estimator_of(config.algorithm.adv_estimator, plain(config.algorithm.get("stepwise")))


def complete(config: Any) -> None:
    """Complete a configuration for processes in other folders: files of classes with their full paths, and
    the environment's own splits where none are named.

    Args:
        config: verl's whole configuration, which is changed.

    Raises:
        SettingError: see `StepwiseSettings.suite`.
    """
    config.hgpo.env.type = full_spelling(config.hgpo.env.type)
    estimator = config.algorithm.adv_estimator
    prefix = PREFIX if estimator.startswith(PREFIX) else ""
    config.algorithm.adv_estimator = prefix + full_spelling(estimator.removeprefix(PREFIX))
    if config.data.train_files is None or config.data.val_files is None:
        splits = list(stepwise_settings(config).suite().splits)
        config.data.train_files = config.data.train_files or splits[:1]
        config.data.val_files = config.data.val_files or splits[1:]


def check_configuration(config: Any) -> None:
    """Check a configuration for settings that cannot work.

    Args:
        config: verl's whole configuration.

    Raises:
        SettingError: if one is found; the message says what to change.
    """
    settings = stepwise_settings(config)
    estimator = configured_estimator(config)
    stepwise = plain(config.algorithm.get("stepwise"))
    check_sections(config.algorithm.adv_estimator, stepwise)
    entropy_credit_of(stepwise)
    if isinstance(estimator, CriticEstimator) and not config.critic.enable:
        raise SettingError("algorithm.adv_estimator=stepwise_ppo has a critic: set critic.enable=True")
    if config.actor_rollout_ref.rollout.n < 2 and not isinstance(estimator, CriticEstimator):
        raise SettingError(
            f"actor_rollout_ref.rollout.n is {config.actor_rollout_ref.rollout.n}: expected 2 or more, as "
            "the rollouts of a task are compared with one another"
        )
    if config.reward.reward_model.enable:
        raise SettingError("rewards come from the environment: set reward.reward_model.enable=False")
    if config.data.get("shuffle"):
        raise SettingError(
            "data.shuffle=True would change the order drawn by the seed: set data.shuffle=False"
        )
    tasks = config.data.train_batch_size
    if settings.tasks_per_update is not None and settings.tasks_per_update > tasks:
        raise SettingError(
            f"hgpo.tasks_per_update is {settings.tasks_per_update}, but data.train_batch_size is {tasks}: an "
            "update cannot have more tasks than a batch"
        )
    if config.trainer.v1.trainer_mode == "hgpo_separate_async" and settings.tasks_per_update is None:
        raise SettingError(
            "hgpo_separate_async needs data.train_batch_size = parameter_sync_step * ppo_mini_batch_size; "
            "counted in rows, such mini-batches are far too small: set hgpo.tasks_per_update"
        )
    settings.suite()
