"""How many previous states the groups of an estimator share."""

from __future__ import annotations

from dataclasses import replace

from hgpo.estimators import HBC, HGPO, Estimator


def as_deep_as_shown(estimator: Estimator, prompt_history: int) -> Estimator:
    """The estimator; HGPO and HBC get the prompt's history length as their depth K.

    Deeper groups would separate steps that the agent cannot tell apart, and have fewer peers.
    """
    if not isinstance(estimator, HGPO | HBC):
        return estimator
    return replace(estimator, history_length=prompt_history)
