"""The command line: `hgpo train` and the other commands."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence

from hgpo.cli.standard_streams import READER_GONE, guarded_streams
from hgpo.errors import RunError, SettingError, how_to_install
from hgpo.registry import own_place
from hgpo.runs.interrupts import terminate_like_interrupt
from hgpo.runs.old_names import current_options

COMMANDS = {
    "train": ("hgpo.cli.train", "train an agent and watch it learn"),
    "compare": ("hgpo.cli.compare", "train with several methods and say which is better"),
    "evaluate": ("hgpo.cli.evaluate", "play the held-out tasks with the agent of a run"),
    "advantages": ("hgpo.cli.advantages", "compute the advantages of rollouts in a file"),
    "diagnose": ("hgpo.cli.diagnose", "show how steps are grouped, and recommend a state key and K"),
    "compare-estimators": ("hgpo.cli.compare_estimators", "show how far estimators agree on rollouts"),
    "presets": ("hgpo.cli.presets", "show the published settings, each value with its source"),
    "export": ("hgpo.cli.export", "write a run's model as a plain Hugging Face folder"),
    "report": ("hgpo.cli.report", "write a run's report as one HTML page"),
    "view": ("hgpo.cli.view", "look at runs and rollouts while they happen: a live page on this machine"),
    "lab": ("hgpo.cli.lab", "measure bias and variance of estimators where the true advantages are known"),
    "check": ("hgpo.cli.check", "check that the installed training stack fits this package"),
    "verl": ("hgpo.cli.verl", "train on a cluster, in verl: check, train, preset"),
    "env": ("hgpo.cli.environments", "play or check an environment"),
    "serve": ("hgpo.cli.serve", "serve an environment to other training stacks (OpenEnv)"),
}
"""Each command's module, imported when the command is called, and what the command does."""

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    The exit code is 0 for success, 1 for a failed run, 2 for wrong use, 130 after Ctrl-C, SIGTERM or SIGHUP,
    and 141 when the reader of standard output has closed it, as in `hgpo --help | head -1`.
    """
    with guarded_streams() as output:
        try:
            code = _run(list(sys.argv[1:] if argv is None else argv))
            output.flush()
        except KeyboardInterrupt:
            code = INTERRUPTED
        except SystemExit as stop:
            # argparse and tyro exit this way after --help.
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except OSError as error:
            if error.filename is None:
                raise
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            fix = "; free some space and run the command again" if full else ""
            code = failed(f"{error.filename}: {error.strerror}{fix}")
        if isinstance(output.error, BrokenPipeError):
            return READER_GONE
        if output.error is not None:
            failed(f"standard output cannot be written: {output.error.strerror}")
            return code or FAILED
        return code


def _run(args: list[str]) -> int:
    """Run one command and return its exit code."""
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        return 0 if args else WRONG_USE
    if args[0] == "--version":
        from hgpo.cli.version import versions

        print(versions())
        return 0
    if args[0] not in COMMANDS:
        return wrong_use(f"no command {args[0]!r}: choose from {', '.join(COMMANDS)}")
    command, words = args[0], args[1:]
    words, renamed = current_options(command, words)
    for line in renamed:
        _print_error(line)
    try:
        module = importlib.import_module(COMMANDS[command][0])
        with terminate_like_interrupt():
            return module.main(words)
    except SettingError as error:
        return wrong_use(str(error))
    except RunError as error:
        return failed(str(error))
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("hgpo"):
            raise
        package = (error.name or "").partition(".")[0]
        return wrong_use(f"this command needs {package}, which is not installed: {how_to_install(package)}")
    # Errors of the user's own code, including sys.exit, are reported in one line; others are raised again.
    except (Exception, SystemExit) as error:
        if (place := own_place(error)) is None:
            raise
        return failed(f"{place}: {type(error).__name__}: {error}")


def wrong_use(message: str) -> int:
    """Print an error message in one line and return the exit code for wrong use."""
    _print_error(message)
    return WRONG_USE


def failed(message: str) -> int:
    """Print an error message in one line and return the exit code for a failed run."""
    _print_error(message)
    return FAILED


def _print_error(message: str) -> None:
    # File and column names may contain line breaks.
    print(f"hgpo: {' '.join(message.splitlines())}", file=sys.stderr)


def _help() -> str:
    lines = ["usage: hgpo COMMAND …", "", "Train LLM agents on long-horizon tasks by comparing steps.", ""]
    lines += [f"  hgpo {name:18} {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join([*lines, "", "hgpo COMMAND --help describes the options of a command."])
