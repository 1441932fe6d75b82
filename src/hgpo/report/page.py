"""Writes the report's page: the template filled with a run's data."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import transformers

from hgpo.errors import SettingError
from hgpo.files import atomic_write
from hgpo.report.data import report_data
from hgpo.runs.folder import RunLog
from hgpo.training.config import load_config


def write_page(data: dict[str, Any], path: Path) -> None:
    """Write the report as one self-contained file."""
    template = files("hgpo.report").joinpath("template.html").read_text(encoding="utf-8")
    # "<" is escaped so that no text can end the script element, and NaN is replaced because JSON has none.
    text = json.dumps(_finite(data), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    atomic_write(path, template.replace("/*DATA*/null", text))


def _finite(value: Any) -> Any:
    """The value with every number that is not finite replaced by null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_report(folder: Path) -> Path:
    """Write report.html of the run in a folder and return the file's path.

    Raises:
        SettingError: if the folder holds no run, or a run without a first record.
    """
    config, log = load_config(folder / "config.json"), RunLog(folder)
    if not log.reference.exists():
        raise SettingError(f"{folder} has not begun yet: nothing to report")
    tokenizer = transformers.AutoTokenizer.from_pretrained(log.reference, local_files_only=True)
    path = folder / "report.html"
    write_page(report_data(config, log, tokenizer.decode), path)
    return path
