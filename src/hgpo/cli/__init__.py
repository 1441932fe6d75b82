"""The command line: `hgpo train`, `hgpo evaluate`, `hgpo diagnose`, `hgpo env`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "train": ("hgpo.cli.train", "train an agent and watch it learn"),
    "evaluate": ("hgpo.cli.evaluate", "play the held-out games with the agent of a run"),
    "diagnose": ("hgpo.cli.diagnose", "show how the steps of a run group, level by level"),
    "env": ("hgpo.cli.environments", "play or check an environment"),
}
"""Each command's module, imported when it is called, and what it does."""

WRONG_USE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0, 1 for a failed check, 2 for wrong use, 130 after Ctrl-C."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        return 0 if args else WRONG_USE
    if args[0] == "--version":
        from hgpo import __version__

        print(__version__)
        return 0
    if args[0] not in COMMANDS:
        return wrong_use(f"no command {args[0]!r}: there are {', '.join(COMMANDS)}")
    try:
        module = importlib.import_module(COMMANDS[args[0]][0])
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("hgpo"):
            raise
        return wrong_use(f"{error.name} is not installed, which this needs: pip install 'hgpo[train]'")
    try:
        return module.main(args[1:])
    except KeyboardInterrupt:
        return INTERRUPTED


def wrong_use(message: str) -> int:
    """Print one line of what is wrong; the exit code for it."""
    print(f"hgpo: {message}", file=sys.stderr)
    return WRONG_USE


def _help() -> str:
    lines = ["usage: hgpo COMMAND …", "", "Train LLM agents on long-horizon tasks by comparing steps.", ""]
    lines += [f"  hgpo {name:10} {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join([*lines, "", "hgpo COMMAND --help tells more of each."])
