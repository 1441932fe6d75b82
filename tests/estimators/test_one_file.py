"""The page that explains the method computes what the package computes."""

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows

from hgpo import HGPO, StepTable

PATH = Path(__file__).resolve().parents[2] / "examples" / "hgpo_one_file.py"
SPEC = importlib.util.spec_from_file_location("hgpo_one_file", PATH)
assert SPEC is not None and SPEC.loader is not None
ONE_FILE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ONE_FILE)


@given(
    any_rows(),
    st.fixed_dictionaries(
        {
            "history_length": st.integers(0, 4),
            "alpha": st.sampled_from([0.0, 1.0, 2.5]),
            "discount": st.sampled_from([0.0, 0.95, 1.0]),
            "normalization": st.sampled_from(["mean_std", "mean"]),
            "epsilon": st.sampled_from([1e-6, 0.1]),
        }
    ),
)
def test_package_equals_the_page(rows: Rows, settings: dict):
    page_rows = [
        {
            "task": row["task_id"],
            "trajectory": row["trajectory_id"],
            "step": row["step_index"],
            "state": row["state_key"],
            "reward": row["reward"],
        }
        for row in rows
    ]
    np.testing.assert_allclose(
        HGPO(**settings)(StepTable.from_rows(rows)),
        np.array(ONE_FILE.hgpo_advantages(page_rows, **settings)),
        atol=1e-10,
    )


def test_the_defaults_are_the_same():
    parameters = inspect.signature(ONE_FILE.hgpo_advantages).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items() if name != "rows"}
    estimator = HGPO()
    assert defaults == {name: getattr(estimator, name) for name in defaults}


def test_it_runs_as_a_script():
    # first in the kitchen: level 0 [10, 0, 0] → 20/3, level 1 [10, 0] → 5: (20/3 + 2·5) / 3 = 50/9 = 5.556.
    printed = subprocess.run([sys.executable, PATH], capture_output=True, text=True, check=True).stdout
    assert "first          1  kitchen       5.556" in printed
