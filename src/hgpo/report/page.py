"""Writes the page: the template with the run's data in it."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from hgpo.files import write_whole


def write_page(data: dict[str, Any], path: Path) -> None:
    """Write the report as one file that needs no other."""
    template = files("hgpo.report").joinpath("template.html").read_text(encoding="utf-8")
    # "<" cannot end the script that holds the data, and JSON has no NaN.
    text = json.dumps(_finite(data), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    write_whole(path, template.replace("/*DATA*/null", text))


def _finite(value: Any) -> Any:
    """The value with null in place of every number that is not finite."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
