"""The released recipe's own numbers, if the folder with them exists."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden" / "stepwise.json.gz"


def golden_cases() -> list[dict[str, Any]] | None:
    """The cases, each with rows and runs on them; None where they are not at hand."""
    return json.loads(gzip.decompress(GOLDEN.read_bytes())) if GOLDEN.exists() else None


def skipped(*arguments: None) -> list[Any]:
    """One case that says why there are none."""
    return [pytest.param(*arguments, marks=pytest.mark.skip(reason=f"golden cases not found at {GOLDEN}"))]
