"""What verl imports in every process by the entry point "verl.plugins": it makes hgpo's parts known there.

verl goes on without a plugin that fails and says nothing of it, so what went wrong is kept for
`hgpo verl check`.
"""

from __future__ import annotations

import traceback

problem: str | None = None
"""Why the plugin could not be loaded in this process, None if all went well."""


def load() -> str | None:
    """Register agent loop, estimators and trainers; what went wrong, if something did."""
    try:
        from hgpo.adapters.verl.versions import verl_version

        verl_version()
        # These two register themselves.
        import hgpo.adapters.verl.agent_loop
        import hgpo.adapters.verl.trainers  # noqa: F401
        from hgpo.adapters.verl.advantages import register_estimators

        register_estimators()
    # Whatever it is, this process can go on as verl without a plugin, and `check` says so.
    except Exception:
        return traceback.format_exc(limit=-1).strip().splitlines()[-1]
    return None


problem = load()
