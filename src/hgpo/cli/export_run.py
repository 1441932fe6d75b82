"""The work of `hgpo export`, once its settings are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import transformers

from hgpo.errors import RunError, SettingError
from hgpo.policies.compute import Compute
from hgpo.policies.loading import load_policy
from hgpo.policies.settings import is_model
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.checkpoint_folder import checkpoint_iteration, latest_checkpoint
from hgpo.training.config import load_config
from hgpo.training.open_run import evaluated_policy, weights_in_words

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def export(source: Path, out: Path, precision: str) -> str:
    """Write the model of a folder to a new folder; returns a description of the model."""
    transformers.utils.logging.disable_progress_bar()
    name, policy = _model(source)
    _write(policy, out, _DTYPES[precision])
    return name


def _model(source: Path) -> tuple[str, TransformersPolicy]:
    """A description of a folder's model, and its policy."""
    if is_model(source):
        return f"model of {source}", load_policy(source, Compute(), trainable=False)
    config = load_config(source / "config.json")
    checkpoint = latest_checkpoint(source / "checkpoints")
    if checkpoint is None:
        raise SettingError(f"{source} has no checkpoint yet: nothing to export")
    name = f"model after iteration {checkpoint_iteration(checkpoint)}{weights_in_words(config)}"
    return name, evaluated_policy(config, checkpoint, Compute())


def _write(policy: TransformersPolicy, out: Path, dtype: torch.dtype) -> None:
    """Write the folder under a temporary name, then move it to its place, so that it is never incomplete."""
    partial = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        policy.save_whole(partial, dtype)
        partial.rename(out)
    except SettingError:
        raise
    except Exception as error:
        # A full disk raises an OSError, or an error type of torch or safetensors.
        raise RunError(f"{out} could not be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
