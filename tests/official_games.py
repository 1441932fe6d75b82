"""ALFWorld's own games, for tests that need them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
UNPACK = SHARED / "data" / "alfworld" / "unpack.py"


def unpacked(folder: Path, *, train: int) -> Path:
    """The folder, with both panels and the first training games, as alfworld-download leaves them.

    The test is skipped where the games or their domain are missing.
    """
    if not UNPACK.exists():
        pytest.skip(f"needs the official games in {SHARED}")
    if not os.environ.get("ALFWORLD_WHEEL") and importlib.util.find_spec("alfworld") is None:
        pytest.skip("needs ALFWorld's domain: set ALFWORLD_WHEEL to the wheel of alfworld 0.4.2")
    words = [sys.executable, str(UNPACK), str(folder), "--train", str(train)]
    subprocess.run(words, check=True, capture_output=True)
    return folder
