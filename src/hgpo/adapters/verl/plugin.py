"""The module that verl imports in every process by the entry point "verl.plugins"; it registers hgpo's parts.

If a plugin fails, verl silently continues without it, so the error is kept for `hgpo verl check`.
"""

from __future__ import annotations

import traceback

problem: str | None = None
"""Why the plugin could not be loaded in this process; None if it was loaded."""


def load() -> str | None:
    """Register agent loop, estimators and trainers; returns an error message if this fails."""
    try:
        from hgpo.adapters.versions import supported_version

        supported_version("verl")
        # These two register themselves.
        import hgpo.adapters.verl.agent_loop
        import hgpo.adapters.verl.trainers  # noqa: F401
        from hgpo.adapters.verl.advantages import register_estimators

        register_estimators()
    # After any error the process can continue as verl without the plugin; `check` reports the error.
    except Exception:
        return traceback.format_exc(limit=-1).strip().splitlines()[-1]
    return None


problem = load()
