"""Trinity-RFT: advantages for its experience pipeline, and a workflow that plays the suites of this package.

The names are imported on first use, after a check of Trinity's version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hgpo.adapters.versions import names_on_first_use

if TYPE_CHECKING:
    from hgpo.adapters.trinity.advantages import StepwiseAdvantageFn
    from hgpo.adapters.trinity.workflow import StepwiseWorkflow

__all__ = ["StepwiseAdvantageFn", "StepwiseWorkflow"]

__getattr__ = names_on_first_use(
    __name__, "trinity-rft", {"StepwiseAdvantageFn": "advantages", "StepwiseWorkflow": "workflow"}
)
