"""Rollouts in files, one row per step. docs/rollout-files.md describes the columns and the file formats."""

from hgpo.rollout_files.columns import COLUMNS
from hgpo.rollout_files.formats import require_writable, write_columns
from hgpo.rollout_files.places import is_run, nearest, result_path
from hgpo.rollout_files.reading import Rollouts, read_rollouts
from hgpo.rollout_files.writing import write_rollouts

__all__ = [
    "COLUMNS",
    "Rollouts",
    "is_run",
    "nearest",
    "read_rollouts",
    "require_writable",
    "result_path",
    "write_columns",
    "write_rollouts",
]
