"""`hgpo compare-estimators`: how far estimators agree on the same rollouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.table import Table

from hgpo.analysis.agreement import Agreement, agreement
from hgpo.cli.parse import parse
from hgpo.cli.rollout_input import open_rollouts
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, HGPO, Estimator, missing_column

CELL, MARGIN = 8, 5
"""Width in characters of a column of numbers, and of the first column."""


@dataclass(frozen=True)
class CompareEstimatorsCommand:
    """Print how far the estimators agree on the same rollouts: correlation and sign agreement.

    Signs are compared over the rows to which at least one estimator of a pair gives a value other than 0.
    HGPO appears three times: as the paper defines it, as the released recipe computes it, and with weights by
    reliability. An estimator is left out if the file lacks a column that it needs: PPO needs the critic's
    value; HBC, CRBC and ECPO need the action.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """A file of rollouts, or a folder of such files, read as one; docs/rollout-files.md lists the formats."""
    own: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE:CLASS …")] = ()
    """Estimators of your own to compare with them, as MODULE:CLASS or FILE.py:CLASS."""
    history_length: int = 2
    """History depth K of HGPO and HBC."""
    discount: float = 0.95
    """Discount γ of every estimator that discounts."""
    invalid_penalty: float = 0.0
    """Subtracted from the return of a row whose action was not valid, in units of reward."""
    rename: tuple[str, ...] = ()
    """THEIRS=OURS for each column that has another name in the file, e.g. uid=task_id."""


def main(args: Sequence[str]) -> int:
    """Read the rollouts, compute all advantages and print the tables."""
    console = Console()
    command = parse(CompareEstimatorsCommand, args, prog="hgpo compare-estimators")
    try:
        estimators = _estimators(command)
    except ValueError as error:
        raise SettingError(str(error)) from None
    steps = open_rollouts(command.file, command.rename, console).steps
    missing = {name: missing_column(estimator, steps) for name, estimator in estimators.items()}
    for name, column in missing.items():
        if column is not None:
            console.print(f"{name} is left out: {command.file} has no column {column}")
    try:
        found = agreement(steps, {name: estimators[name] for name in estimators if missing[name] is None})
    except ValueError as error:
        raise SettingError(f"{command.file}: {error}") from None
    console.print(_report(found, max(1, (console.width - MARGIN) // CELL)))
    return 0


def _estimators(command: CompareEstimatorsCommand) -> dict[str, Estimator]:
    shared = {
        "history_length": command.history_length,
        "discount": command.discount,
        "invalid_penalty": command.invalid_penalty,
    }

    def settings(estimator: Any) -> dict[str, Any]:
        names = {setting.name for setting in dataclasses.fields(estimator)}
        return {name: value for name, value in shared.items() if name in names}

    return {
        "hgpo": HGPO(**settings(HGPO)),
        "hgpo reference": HGPO.reference(**settings(HGPO)),
        "hgpo reliability": HGPO(**settings(HGPO), level_weights="reliability"),
        **{
            name.replace("_plus_plus", "++").replace("_", " "): estimator(**settings(estimator))
            for name, estimator in ESTIMATORS.items()
            if estimator is not HGPO
        },
        **{name: own(**settings(own)) for name in command.own for own in [ESTIMATORS.find(name, "--own")]},
    }


def _report(found: Agreement, columns: int) -> Group:
    """The tables; the tables of pairs are split so that each part has at most `columns` columns."""
    names = Table(title="the estimators", title_justify="left")
    names.add_column("")
    names.add_column("estimator")
    names.add_column("exactly 0", justify="right")
    for letter, name, zero in zip(_letters(found), found.names, found.zero_share, strict=True):
        names.add_row(letter, name, f"{zero:.1%}")
    return Group(
        names,
        *_matrix("correlation of the advantages", found, found.correlation, "{:+.2f}", columns),
        *_matrix("same sign, of the rows where one is not 0", found, found.same_sign, "{:.0%}", columns),
    )


def _letters(found: Agreement) -> list[str]:
    return [chr(ord("a") + i) for i in range(len(found.names))]


def _matrix(
    title: str, found: Agreement, values: NDArray[np.float64], form: str, columns: int
) -> Iterator[Table]:
    letters = _letters(found)
    for first in range(0, len(letters), columns):
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for letter in letters[first : first + columns]:
            table.add_column(letter, justify="right")
        # Only the pairs below the diagonal are shown, so early rows are empty in later columns.
        for i, letter in list(enumerate(letters))[first:]:
            shown = values[i, first : min(i + 1, first + columns)]
            table.add_row(letter, *("–" if np.isnan(value) else form.format(value) for value in shown))
        yield table
