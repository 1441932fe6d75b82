"""Writes pages: the report, and any other page of modules, style and data, as one file that opens offline."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from hgpo.errors import SettingError
from hgpo.files import atomic_write
from hgpo.report.data import report_data
from hgpo.report.tokens import token_reader
from hgpo.runs.folder import RunLog
from hgpo.training.config import load_config

SHARED = ("dom.js", "charts.js", "curves.js", "groupmap.js", "episode.js")
"""The modules that the report and the live page have in common; each comes after those that it imports."""
DATA = "/*DATA*/null"
"""Where a page's data is filled in."""


def web_text(name: str, package: str = "hgpo.report") -> str:
    """A file of a package's folder "web"."""
    return files(package).joinpath("web", name).read_text(encoding="utf-8")


def one_file(page: str, style: str, modules: Sequence[str]) -> str:
    """A page with its style and its modules inside, and `DATA` where its data belongs.

    Only this style and these modules are allowed by the page's own policy, and nothing is loaded, so that a
    text that slipped into the page as HTML could neither run nor send anything.

    Args:
        page: HTML with an empty element <style> and with <script>MODULES</script>.
        style: CSS.
        modules: JavaScript modules, each after those that it imports. Imports are one line each, and no two
            modules have a top-level name in common.
    """
    imports = re.compile(r"^import .*\n|^export (?=\w)", re.M)
    script = "\n".join(imports.sub("", module) for module in modules)
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}; form-action \'none\'">'
    data = f'<script type="application/json" id="data">{DATA}</script>'
    return (
        page.replace("<head>", f"<head>\n{head}")
        .replace("<style></style>", f"<style>{style}</style>")
        .replace("<script>MODULES</script>", f'{data}\n<script type="module">{script}</script>')
    )


def filled(page: str, data: Any) -> str:
    """A page of `one_file` with its data."""
    # "<" is escaped so that no text can end the script element.
    return page.replace(DATA, as_json(data).replace("<", "\\u003c"))


def as_json(value: Any) -> str:
    """A value as JSON, with null for every number that is not finite."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _finite(value: Any) -> Any:
    """The value with every number that is not finite replaced by null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_page(data: dict[str, Any], path: Path) -> None:
    """Write the report as one self-contained file."""
    modules = [web_text(name) for name in (*SHARED, "report.js")]
    page = one_file(web_text("report.html"), web_text("style.css"), modules)
    atomic_write(path, filled(page, data))


def write_report(folder: Path) -> Path:
    """Write report.html of the run in a folder and return the file's path.

    Raises:
        SettingError: if the folder holds no run, or a run without a first record.
    """
    config, log = load_config(folder / "config.json"), RunLog(folder)
    if not log.reference.exists():
        raise SettingError(f"{folder} has not begun yet: nothing to report")
    path = folder / "report.html"
    write_page(report_data(config, log, token_reader(log.reference)), path)
    return path
