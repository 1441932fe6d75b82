"""`hgpo view`: a live page over runs and rollouts."""

from __future__ import annotations

import importlib
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hgpo.cli.parse import parse
from hgpo.cli.rollout_input import new_names
from hgpo.errors import SettingError
from hgpo.gateway.address import listening

LOOPBACK = "127.0.0.1"
SECONDS_TO_CLOSE = 1


@dataclass(frozen=True)
class View:
    """Look at runs and rollouts on a page in the browser, live while they train, until Ctrl-C.

    hgpo view runs/household-0: a run, also while it trains

    hgpo view runs/a runs/b: several side by side; or the folder that holds them

    hgpo view rollouts.parquet: rollouts of any training stack (docs/rollout-files.md)

    hgpo view dump/ --rename input=prompt output=response score=reward: those that verl writes

    The page can be reached from this machine only, with the token in the address that is printed
    (docs/viewing-runs.md).
    """

    sources: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_FOLDER…")]
    """Runs, folders of runs, and files or folders of rollouts."""
    rename: tuple[str, ...] = ()
    """THEIRS=OURS for each column that has another name in the files, e.g. uid=task_id."""
    tokenizer: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """For files with token ids: the folder of the model, or of the run, whose tokenizer reads them."""
    port: int = 0
    """The port; 0 takes any free one."""
    open: tyro.conf.FlagCreatePairsOff[bool] = False
    """Open the page in the browser."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise SettingError("name a run, a folder of runs, or a file of rollouts")
        if not 0 <= self.port < 2**16:
            raise SettingError(f"--port is {self.port}: expected 0 to 65535")


def main(args: Sequence[str]) -> int:
    """Serve the page until the command is interrupted."""
    command = parse(View, args, "hgpo view")
    # Help and errors need no server.
    import uvicorn

    # Loaded before the address is printed, so that the first answer does not wait for it.
    importlib.import_module("hgpo.rollout_files.arrow")
    from hgpo.view.server import application, new_token
    from hgpo.view.sources import open_source, runs_in

    rename = new_names(command.rename)
    paths = [run for path in command.sources for run in runs_in(path)]
    tokenizer = None if command.tokenizer is None else _tokenizer(command.tokenizer)
    sources = [open_source(path, rename, tokenizer) for path in paths]
    token = new_token()
    with listening(LOOPBACK, command.port) as address:
        url = f"http://{LOOPBACK}:{address.getsockname()[1]}/{token}/"
        print(f"{', '.join(map(str, paths))}\nopen {url} (Ctrl-C ends it)", flush=True)
        if command.open:
            webbrowser.open(url)
        config = uvicorn.Config(
            application(sources, token),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_CLOSE,
        )
        uvicorn.Server(config).run(sockets=[address])
    return 0


def _tokenizer(folder: Path) -> Path:
    """The folder that has the tokenizer: the folder itself, or that of a run's model."""
    for place in (folder, folder / "reference"):
        if any((place / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
            return place
    raise SettingError(
        f"--tokenizer {folder}: it has no tokenizer.json; give the folder of a model or of a run"
    )
