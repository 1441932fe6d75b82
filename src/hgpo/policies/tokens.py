"""How a prompt becomes tokens, and tokens an answer, whatever computes in between."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.policies.answers import Answer, left_to_write, read_answer
from hgpo.policies.templates import ChatTemplate, template_text

WITHIN_LINES = "tokens_within_lines"
"""What a tokenizer's settings say if none of its tokens depends on anything beyond its line."""
MOST_LINES = 2**16
"""Lines whose tokens are kept at a time."""

Tokens = Sequence[int] | NDArray[np.int64]
"""Token ids."""


def end_tokens(tokenizer: Any, *configurations: Any) -> tuple[int, ...]:
    """The tokens any of which ends an answer: the tokenizer's own, then those that the configurations name.

    Chat models often end a turn with another token than a text. Gemma's tokenizer, for one, names that of a
    text alone, its generation_config both.

    Args:
        tokenizer: of transformers.
        configurations: of a model or of its generation; their eos_token_id is a number, a list or None.
    """
    found = [tokenizer.eos_token_id]
    for configuration in configurations:
        named = getattr(configuration, "eos_token_id", None)
        found += named if isinstance(named, list | tuple) else [named]
    # A configuration that names none has its class's, which a small vocabulary may not contain.
    size = max(len(tokenizer), *(getattr(each, "vocab_size", 0) for each in configurations), 0)
    return tuple(dict.fromkeys(token for token in found if token is not None and 0 <= token < size))


def encode_prompts(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of each prompt for a tokenizer alone, without a model; see `ChatTokenizer.encode`."""
    return ChatTokenizer(tokenizer, end_tokens(tokenizer)).encode(texts)


class ChatTokenizer:
    """A tokenizer together with its chat template and the tokens that end an answer."""

    def __init__(
        self, tokenizer: Any, ends: Sequence[int], arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Find out how the chat template takes a user's message, if there is a template.

        Args:
            tokenizer: of transformers.
            ends: see `end_tokens`.
            arguments: for the chat template, such as enable_thinking.

        Raises:
            SettingError: if the template takes no message of a user's.
        """
        self.tokenizer, self.ends = tokenizer, tuple(ends)
        self._arguments = dict(arguments or {})
        self._template = ChatTemplate.of(tokenizer, self._arguments)
        frame = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
        self._wordless = {*ends, *frame}
        self._tokens_of_line: dict[str, list[int]] = {}

    @property
    def template(self) -> ChatTemplate | None:
        """The tokenizer's chat template, also if another one has been set since the last call."""
        known = None if self._template is None else self._template.text
        if template_text(self.tokenizer) != known:
            self._template = ChatTemplate.of(self.tokenizer, self._arguments)
        return self._template

    @property
    def begun(self) -> str:
        """What each prompt contains of the answer's thought already; see `answers.begun_by`."""
        return "" if self.template is None else self.template.begun

    @property
    def turn_end(self) -> int | None:
        """The token to end an answer with: the chat template's, else the tokenizer's; None without any."""
        return next(iter(self._closing), None)

    @property
    def _closing(self) -> list[int]:
        """The end tokens that the chat template writes behind an answer, in order; all if it writes none."""
        behind = "" if self.template is None else self.template.behind
        tokens = self.tokenizer.encode(behind, add_special_tokens=False)
        return [token for token in tokens if token in self.ends] or list(self.ends)

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each prompt, as a user's message if there is a chat template.

        Prompts never end in a token that ends a turn or a text, as a model that reads one has nothing left to
        say. What opens an answer stays, even if the model may end one with it, as with Phi-3's <|assistant|>.

        Args:
            texts: what is read.

        Raises:
            SettingError: if the template leaves out part of a text.
        """
        if not texts:
            return []
        if self.template is None:
            rows = self._plain(texts)
        else:
            # The template writes all special tokens itself.
            prompts = [self.template.prompt(text) for text in texts]
            rows = self.tokenizer(prompts, add_special_tokens=False).input_ids
        closing = {*self._closing, self.tokenizer.eos_token_id}
        return [_without_last(row, (token in closing for token in reversed(row))) for row in rows]

    def _plain(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of texts with what the tokenizer puts before each, but not what it puts behind it."""
        if self.tokenizer.init_kwargs.get(WITHIN_LINES):
            return self._by_line(texts)
        encoded = self.tokenizer(list(texts), return_special_tokens_mask=True)
        return list(map(_without_last, encoded.input_ids, map(reversed, encoded.special_tokens_mask)))

    def _by_line(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The same line by line: prompts share most of their lines with others."""
        known = self._tokens_of_line
        if len(known) > MOST_LINES:
            known.clear()
        rows = [text.split("\n") for text in texts]
        new = list(dict.fromkeys(line for lines in rows for line in lines if line not in known))
        if new:
            known.update(zip(new, self.tokenizer(new, add_special_tokens=False).input_ids, strict=True))
        return [tuple(chain.from_iterable(map(known.__getitem__, lines))) for lines in rows]

    def encode_answer(self, text: str) -> list[int]:
        """Token ids of what a model has left to write of an answer, without its end."""
        return self.tokenizer.encode(left_to_write(text, self.begun), add_special_tokens=False)

    def encode_response(self, text: str, max_tokens: int) -> tuple[int, ...]:
        """The same with its end, if there is an end token; at most `max_tokens`."""
        end = self.turn_end
        return tuple([*self.encode_answer(text), *([] if end is None else [end])][:max_tokens])

    def length(self, tokens: Tokens) -> int:
        """The number of tokens up to the first end token, that one included; all if there is none."""
        return next((number for number, token in enumerate(tokens, 1) if token in self.ends), len(tokens))

    def decode(self, rows: Sequence[Tokens]) -> list[str]:
        """What the model wrote in each row of tokens, up to its first end token.

        Special tokens are part of it, as tags may be such tokens. Only those are not that end, pad or begin a
        text, and the unknown one, which stands for none. No space is taken out, as some tokenizers do before
        punctuation.
        """
        kept = ([int(token) for token in row[: self.length(row)]] for row in rows)
        return self.tokenizer.batch_decode(
            [[token for token in row if token not in self._wordless] for row in kept],
            clean_up_tokenization_spaces=False,
        )

    def tokens_of(self, tokens: Tokens, span: slice) -> NDArray[np.bool_]:
        """Which tokens of a row wrote some of the characters of a span, [tokens].

        Args:
            tokens: the row.
            span: start and stop in the row's text, as `decode` gives it.
        """

        def length_of(count: int) -> int:
            return len(self.decode([tokens[:count]])[0])

        # Token k wrote the characters between the texts of k and of k + 1 tokens. Their lengths never fall,
        # but may stay the same: the first byte of a character already counts as one.
        counts = range(self.length(tokens) + 1)
        first = bisect_right(counts, span.start, key=length_of) - 1
        complete = bisect_left(counts, span.stop, key=length_of)
        end = max(complete, bisect_right(counts, span.stop, key=length_of) - 1)
        places = np.arange(len(tokens))
        return (places >= first) & (places < end)

    def answers(self, rows: Sequence[Tokens]) -> list[Answer]:
        """The answer in each row of tokens, together with what the prompt had begun of it."""
        begun, lasts = self.begun, [row[self.length(row) - 1] if len(row) else None for row in rows]
        return [
            read_answer(text, begun=begun, ended="stop" if last in self.ends else "length")
            for last, text in zip(lasts, self.decode(rows), strict=True)
        ]


def _without_last(tokens: Sequence[int], marked: Iterable[object]) -> tuple[int, ...]:
    """The tokens without the last ones, as many as are marked; `marked` goes from the last to the first."""
    return tuple(tokens[: len(tokens) - len(list(takewhile(bool, marked)))])
