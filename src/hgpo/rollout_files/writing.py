"""Writes a step table to a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.keys import factorize
from hgpo.rollout_files.columns import COLUMNS, is_key
from hgpo.rollout_files.formats import write_columns
from hgpo.steps import KEY_PREFIX, StepTable


def write_rollouts(
    path: str | os.PathLike[str],
    steps: StepTable,
    state_keys: Mapping[str, Sequence[Any]] | None = None,
    *,
    details: Mapping[str, Sequence[Any]] | None = None,
    logprob_step: float | None = None,
) -> None:
    """Write steps to a file that `read_rollouts` can read.

    Ids, keys, observations and actions that are neither texts nor integers of 64 bits are written as numbers,
    which are equal if and only if the values are equal.

    Args:
        path: A file whose name ends in .parquet or .jsonl, or in one of these and a compression's suffix.
        steps: The steps.
        state_keys: State keys by name, in addition to those of the table; each has one value per row.
        details: Columns for people, by names of `DETAILS`; each has one value per row, a text, a number or a
            truth value.
        logprob_step: Round log-probabilities to multiples of this, in nats, because their last digits are
            noise that cannot be compressed. None does not round.

    Raises:
        SettingError: The name has another suffix.
        OSError: The file cannot be written; no part of it is left.
    """
    columns: dict[str, Any] = {
        name: column for name in COLUMNS if (column := getattr(steps, name)) is not None
    }
    if logprob_step is not None and steps.response_logprobs is not None:
        columns["response_logprobs"] = tuple(
            np.round(row / logprob_step) * logprob_step for row in steps.response_logprobs
        )
    codes = {name: factorize(keys, KEY_PREFIX + name) for name, keys in (state_keys or {}).items()}
    for name, code in {**steps.state_key_codes, **codes}.items():
        columns[KEY_PREFIX + name] = code
    columns |= {name: np.array(values, dtype=object) for name, values in (details or {}).items()}
    for name, column in columns.items():
        if is_key(name) and not _of_one_plain_type(column):
            columns[name] = factorize(column, name)
    write_columns(Path(path), columns)


def _of_one_plain_type(column: NDArray[Any]) -> bool:
    if column.dtype != object:
        return column.dtype.kind in "iuU"
    values = column.tolist()
    kinds = {type(value) for value in values}
    return kinds <= {str} or (kinds <= {int} and min(values) >= -(2**63) and max(values) < 2**63)
