"""What a GPU computes, how fast, and what a model learns on it in minutes: one command for a bare machine.

    PYTHONPATH=src python benchmarks/gpu.py [--minutes 8] [--games FOLDER] [--out gpu.jsonl]
    PYTHONPATH=src python benchmarks/gpu.py --small --device cpu       # every line of it, in about a minute

Three sections, each a process of its own with a time limit: whether the device computes what a CPU
computes, speed and memory at published shapes, and learning. Each figure is written to the file at once, so
that a run that is stopped leaves what it had; a part that fails is written down, and the next one goes on.
The last lines are a table. docs/gpu.md says what is measured and how.

Needs torch, transformers and peft, and nothing from outside the machine.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_figures import Figures, failures, read, table, write

from hgpo.envs import AlfworldSuite
from hgpo.errors import SettingError
from hgpo.runs.interrupts import terminate_like_interrupt

WRONG_USE = 2
SECTIONS = {"correctness": 0.15, "speed": 0.6, "learning": 1.0}
"""The sections, and the share that each may take of the time that is left when it begins."""
REPORT_SECONDS = 5
"""What is kept for ending a section, and for the table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sections and print the table; 1 if a part failed or a result is wrong, 2 for wrong use."""
    arguments = _parser().parse_args(argv)
    if arguments.section is not None:
        return _run_section(arguments)
    if arguments.paper:
        from gpu_speed import paper_table

        print("\n".join(paper_table()))
        return 0
    if arguments.games is not None:
        # Asked here, as a mistyped folder would be found only after minutes of paid time.
        try:
            AlfworldSuite(data=arguments.games).tasks("train", 1)
        except SettingError as error:
            print(f"gpu.py: {error}", file=sys.stderr)
            return WRONG_USE
    before = len(read(arguments.out))
    ends = time.time() + 60 * arguments.minutes - REPORT_SECONDS
    with terminate_like_interrupt():
        try:
            for section in arguments.only or SECTIONS:
                _start_section(section, arguments, time.time() + SECTIONS[section] * (ends - time.time()))
        except KeyboardInterrupt:
            write(arguments.out, {"section": "run", "what": "all", "failed": "stopped"})
    records = read(arguments.out)[before:]
    print("\n".join(["", *_machine(records), "", *table(records)]), flush=True)
    return 1 if failures(records) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="the whole run's limit")
    parser.add_argument("--small", action="store_true", help="little of everything, for a try on a CPU")
    parser.add_argument("--device", help="as PyTorch names it; a GPU if there is one")
    parser.add_argument("--games", help="ALFWorld's folder; $ALFWORLD_DATA by default, else household games")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"), help="where figures are added")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="some of the sections")
    parser.add_argument("--paper", action="store_true", help="show what is expected of known cards, and end")
    # How the command starts itself for each section.
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser


def _start_section(section: str, arguments: argparse.Namespace, until: float) -> None:
    """Run a section in a process of its own, which is ended when its time is over."""
    print(f"\n{section}: at most {until - time.time():.0f} s", flush=True)
    command = [sys.executable, __file__, "--section", section, "--until", str(until), "--out", arguments.out]
    command += ["--small"] * arguments.small
    for option in ("device", "games"):
        if getattr(arguments, option) is not None:
            command += [f"--{option}", getattr(arguments, option)]
    process = subprocess.Popen(command)
    why = None
    try:
        code = process.wait(max(1.0, until + REPORT_SECONDS - time.time()))
        if code:
            why = f"the process ended with exit code {code}"
    except subprocess.TimeoutExpired:
        why = "over its time limit"
    finally:
        process.kill()
        process.wait()
    if why is not None:
        write(arguments.out, {"section": section, "what": "the section", "failed": why})


def _run_section(arguments: argparse.Namespace) -> int:
    """What the process of a section does."""
    import torch
    import transformers
    from gpu_setup import describe, release

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    size = "small" if arguments.small else "full"
    about = {"section": arguments.section, "size": size, "time": time.strftime("%Y-%m-%d %H:%M:%S")}
    write(arguments.out, {**about, "machine": describe(device)})
    figures = Figures(arguments.out, arguments.section, arguments.until, release)
    section = importlib.import_module(f"gpu_{arguments.section}")
    section.run(figures, device, small=arguments.small, games=arguments.games)
    return 0


def _machine(records: Sequence[dict]) -> list[str]:
    """What the figures were measured on, once."""
    machines = [record["machine"] for record in records if "machine" in record]
    return [", ".join(f"{name} {value}" for name, value in machines[0].items())] if machines else []


if __name__ == "__main__":
    sys.exit(main())
