"""Writes responses with a model that reads prefix trees, one token of each response per forward pass.

Responses may join the others at any step and leave when they end, so that no response waits for another. What
nobody attends to any more is removed from the model's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from hgpo.policies.choices import Restriction, restricted
from hgpo.policies.distributions import log_softmax, sample
from hgpo.policies.prefix_trees import Frontier, Rows
from hgpo.policies.readers import Drawn

Forward = Callable[[Rows, transformers.DynamicCache | None], Tensor]
"""The model's outputs at the wanted nodes of each row, [rows, wanted, vocabulary]; extends the cache."""

WORTH_MOVING = 0.5
"""The cache is made smaller when this fraction of it would be left: a copy costs about as much as a step."""


@dataclass(eq=False)
class Response:
    """A response that is being written."""

    uniforms: NDArray[np.float64]
    """The random number of each token, in [0, 1); their number is the response's largest length."""
    restriction: Restriction | None = None
    """The tokens that may come next, of all responses of a `Decoding` or of none; None: any."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def drawn(self) -> Drawn:
        """The finished response."""
        return Drawn(
            np.array(self.tokens, dtype=np.int64),
            np.array(self.logprobs, dtype=np.float32),
            None if self.restriction is None else tuple(self.restriction.allowed),
        )


class Decoding:
    """The responses that are being written, with the model's cache of their prompts and tokens.

    Each response is at a node of the frontier: at first the end of its prompt, then the end of its tokens so
    far. Responses at one node that draw the same token continue at the same new node.
    """

    def __init__(
        self,
        forward: Forward,
        config: Any,
        temperature: float,
        ends: Sequence[int],
        padding: int,
        shares: bool,
    ) -> None:
        """Begin without responses.

        Args:
            forward: see `Forward`.
            config: the model's configuration, for its cache.
            temperature: temperature of the softmax; 0 takes the most likely token.
            ends: the tokens that end a response.
            padding: any token.
            shares: whether the model accepts any attention mask, so that its cache may be rearranged.
        """
        self._forward, self._config, self._temperature = forward, config, temperature
        self._ends, self._pad, self._shares = frozenset(ends), padding, shares
        self.live: list[Response] = []
        self._node_of_row = np.empty(0, np.int64)
        self._frontier: Frontier | None = None
        self._logits = torch.empty(0)
        self._cache: transformers.DynamicCache | None = None

    @property
    def cached_tokens(self) -> int:
        """Number of tokens in the model's cache, with padding."""
        return 0 if self._frontier is None else self._frontier.trees * self._frontier.attention_mask.shape[1]

    def join(
        self,
        responses: Sequence[Sequence[Response]],
        frontier: Frontier,
        logits: Tensor,
        cache: transformers.DynamicCache | None,
    ) -> None:
        """Begin further responses.

        Args:
            responses: the responses to each prompt.
            frontier: the ends of the prompts, as they are in the cache.
            logits: the model's outputs there, [prompts, vocabulary].
            cache: the model's cache of the prompts; None if no other is live and each of these has one token.
        """
        nodes = np.repeat(np.arange(len(responses)), [len(each) for each in responses])
        self.live += [response for each in responses for response in each]
        if self._frontier is None:
            self._node_of_row, self._frontier, self._logits, self._cache = nodes, frontier, logits, cache
            return
        assert self._cache is not None and cache is not None
        self._node_of_row = np.concatenate([self._node_of_row, nodes + len(self._frontier.tree)])
        self._frontier = self._frontier.beside(frontier)
        self._logits = torch.cat([self._logits, logits])
        self._cache = side_by_side([self._cache, cache], self._config)

    def advance(self) -> list[Response]:
        """Draw one token of each response; returns those that ended."""
        distribution = log_softmax(self._logits, self._temperature)[self._here(self._node_of_row)]
        allowed = [each.restriction.after(each.tokens) for each in self.live if each.restriction is not None]
        if allowed:
            distribution = restricted(distribution, allowed)
        uniforms = np.array([response.uniforms[len(response.tokens)] for response in self.live])
        chosen = sample(distribution, self._here(uniforms), greedy=self._temperature == 0)
        logprobs = distribution.gather(1, chosen[:, None])[:, 0].tolist()
        drawn = chosen.cpu().numpy()
        alive = np.empty(len(self.live), np.bool_)
        for row, (response, token, logprob) in enumerate(
            zip(self.live, drawn.tolist(), logprobs, strict=True)
        ):
            response.tokens.append(token)
            response.logprobs.append(logprob)
            alive[row] = token not in self._ends and len(response.tokens) < len(response.uniforms)
        ended = [response for response, goes_on in zip(self.live, alive, strict=True) if not goes_on]
        self.live = [response for response, goes_on in zip(self.live, alive, strict=True) if goes_on]
        if self.live:
            self._continue(self._node_of_row[alive], drawn[alive])
        else:
            self._frontier, self._cache = None, None
        return ended

    def _continue(self, node_of_row: NDArray[np.int64], drawn: NDArray[np.int64]) -> None:
        """Read the token that was drawn last of each live response."""
        assert self._frontier is not None and self._cache is not None
        (parents, news), self._node_of_row = np.unique(
            np.stack([node_of_row, drawn]), axis=1, return_inverse=True
        )
        if self._shares:
            parents = self._without_waste(parents)
        read, self._frontier = self._frontier.grow(parents, news, self._pad)
        logits = self._forward(read, self._cache)
        self._logits = logits[self._here(self._frontier.tree), self._here(self._frontier.output)]

    def _without_waste(self, parents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Remove what is no longer attended to from the cache, if it is much; returns the new `parents`."""
        assert self._frontier is not None and self._cache is not None
        nodes, parents_left = np.unique(parents, return_inverse=True)
        if len(nodes) == len(self._frontier.tree):
            return parents
        frontier, rows, places = self._frontier.only(nodes)
        if places.size > WORTH_MOVING * self.cached_tokens:
            return parents
        self._frontier = frontier
        self._cache = _rearranged(self._cache, self._config, self._here(rows), self._here(places))
        return parents_left

    def _here(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._logits.device)


def side_by_side(caches: Sequence[transformers.DynamicCache], config: Any) -> transformers.DynamicCache:
    """One cache with the rows of all caches, padded on the left to the longest."""
    if len(caches) == 1:
        return caches[0]
    longest = max(cache.get_seq_length() for cache in caches)

    def joined(tensors: list[Tensor]) -> Tensor:
        return torch.cat([pad(tensor, (0, 0, longest - tensor.shape[2], 0)) for tensor in tensors])

    whole = transformers.DynamicCache(config=config)
    for number, layers in enumerate(zip(*(cache.layers for cache in caches), strict=True)):
        attention: list[Any] = list(layers)
        keys, values = [layer.keys for layer in attention], [layer.values for layer in attention]
        whole.update(joined(keys), joined(values), number)
    return whole


def _rearranged(
    cache: transformers.DynamicCache, config: Any, rows: Tensor, places: Tensor
) -> transformers.DynamicCache:
    """A cache with some rows of this one, and for each of them the entries at some places, [rows, places]."""

    def moved(tensor: Tensor) -> Tensor:
        return tensor[rows[:, None], :, places].transpose(1, 2)

    smaller = transformers.DynamicCache(config=config)
    for number, layer in enumerate(cache.layers):
        attention: Any = layer
        smaller.update(moved(attention.keys), moved(attention.values), number)
    return smaller
