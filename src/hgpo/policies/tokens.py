"""Converts prompts to tokens, and tokens to answers, for any rollout engine."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hgpo.errors import SettingError
from hgpo.policies.answers import Answer, left_to_write, read_answer
from hgpo.policies.templates import ChatTemplate, template_text

WITHIN_LINES = "tokens_within_lines"
"""The setting of a tokenizer that says that tokens depend only on the text of their own line."""
MOST_LINES = 2**16
"""Largest number of lines whose tokens are cached."""

Tokens = Sequence[int] | NDArray[np.int64]
"""Token ids."""


def end_tokens(tokenizer: Any, *configurations: Any) -> tuple[int, ...]:
    """The tokens that end an answer: the tokenizer's own, then those that the configurations name.

    Chat models often end a turn with a different token than a text. Gemma's tokenizer, for example, names
    only the end of a text, while its generation_config names both.

    Args:
        tokenizer: a tokenizer of transformers.
        configurations: configurations of a model or of its generation; their eos_token_id is a number, a list
            or None.
    """
    found = [tokenizer.eos_token_id]
    for configuration in configurations:
        named = getattr(configuration, "eos_token_id", None)
        found += named if isinstance(named, list | tuple) else [named]
    # A configuration that names no token has its class's default, which a small vocabulary may not contain.
    size = max(len(tokenizer), *(getattr(each, "vocab_size", 0) for each in configurations), 0)
    return tuple(dict.fromkeys(token for token in found if token is not None and 0 <= token < size))


def encode_prompts(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of each prompt, for a tokenizer without a model; see `ChatTokenizer.encode`."""
    return ChatTokenizer(tokenizer, end_tokens(tokenizer)).encode(texts)


class ChatTokenizer:
    """A tokenizer together with its chat template and the tokens that end an answer."""

    def __init__(
        self, tokenizer: Any, ends: Sequence[int], arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Find out how the chat template takes a user's message, if there is a template.

        Args:
            tokenizer: a tokenizer of transformers.
            ends: the tokens that end an answer; see `end_tokens`.
            arguments: arguments for the chat template, such as enable_thinking.

        Raises:
            SettingError: if the template does not take a user's message.
        """
        self.tokenizer, self.ends = tokenizer, tuple(ends)
        self._arguments = dict(arguments or {})
        self._template = ChatTemplate.of(tokenizer, self._arguments)
        frame = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
        self._wordless = {*ends, *frame}
        self._tokens_of_line: dict[str, list[int]] = {}

    @property
    def template(self) -> ChatTemplate | None:
        """The tokenizer's current chat template, which may have been replaced since the last call."""
        known = None if self._template is None else self._template.text
        if template_text(self.tokenizer) != known:
            self._template = ChatTemplate.of(self.tokenizer, self._arguments)
        return self._template

    @property
    def begun(self) -> str:
        """The part of the answer's thought that each prompt already contains; see `answers.begun_by`."""
        return "" if self.template is None else self.template.begun

    @property
    def turn_end(self) -> int | None:
        """The token that ends an answer: the chat template's, else the tokenizer's; None if there is none."""
        return next(iter(self._closing), None)

    @property
    def _closing(self) -> list[int]:
        """The end tokens that the chat template writes after an answer, in order; all end tokens if none."""
        behind = "" if self.template is None else self.template.behind
        tokens = self.tokenizer.encode(behind, add_special_tokens=False)
        return [token for token in tokens if token in self.ends] or list(self.ends)

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each prompt, as a user's message if there is a chat template.

        Tokens that end a turn or a text are removed from the end of a prompt, because a model would have
        nothing to add after them. A token that opens an answer is kept even if the model may also end an
        answer with it, as with Phi-3's <|assistant|>.

        Args:
            texts: the prompts.

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
        return self._opened(rows)

    def encode_conversation(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()
    ) -> tuple[int, ...]:
        """Token ids of a conversation, up to where the next answer begins.

        A tokenizer without a chat template reads the messages' contents as one text, each on a new line; a
        single user's message has the same tokens as in `encode`.

        Args:
            messages: in the form of OpenAI's chat completions, each content a text.
            tools: the tools that the model may call, in the same form.

        Raises:
            SettingError: if the template does not take the messages or the tools, or if there is none for
                tools.
        """
        if self.template is not None:
            prompt = self.template.conversation(messages, tools)
            return self._opened(self.tokenizer([prompt], add_special_tokens=False).input_ids)[0]
        if tools:
            raise SettingError("the model has no chat template, which would show it the tools")
        return self.encode(["\n".join(message["content"] for message in messages)])[0]

    def _opened(self, rows: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
        """Rows of tokens without those that end a turn or a text at their ends."""
        closing = {*self._closing, self.tokenizer.eos_token_id}
        return [_without_last(row, (token in closing for token in reversed(row))) for row in rows]

    def _plain(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of texts, with the special tokens that the tokenizer adds before each, not after it."""
        if self.tokenizer.init_kwargs.get(WITHIN_LINES):
            return self._by_line(texts)
        encoded = self.tokenizer(list(texts), return_special_tokens_mask=True)
        return list(map(_without_last, encoded.input_ids, map(reversed, encoded.special_tokens_mask)))

    def _by_line(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """The same, encoded line by line and cached, because prompts have most of their lines in common."""
        known = self._tokens_of_line
        if len(known) > MOST_LINES:
            known.clear()
        rows = [text.split("\n") for text in texts]
        new = list(dict.fromkeys(line for lines in rows for line in lines if line not in known))
        if new:
            known.update(zip(new, self.tokenizer(new, add_special_tokens=False).input_ids, strict=True))
        return [tuple(chain.from_iterable(map(known.__getitem__, lines))) for lines in rows]

    def encode_answer(self, text: str) -> list[int]:
        """Token ids of the part of an answer that a model still has to write, without the end token."""
        return self.tokenizer.encode(left_to_write(text, self.begun), add_special_tokens=False)

    def encode_response(self, text: str, max_tokens: int) -> tuple[int, ...]:
        """Token ids of the same part with the end token, if there is one; at most `max_tokens`."""
        end = self.turn_end
        return tuple([*self.encode_answer(text), *([] if end is None else [end])][:max_tokens])

    def length(self, tokens: Tokens) -> int:
        """The number of tokens up to and including the first end token; all of them if there is none."""
        return next((number for number, token in enumerate(tokens, 1) if token in self.ends), len(tokens))

    def decode(self, rows: Sequence[Tokens]) -> list[str]:
        """The text that the model wrote in each row of tokens, up to its first end token.

        Special tokens are included, because tags may be special tokens. Only the tokens that end, pad or
        begin a text and the unknown token are left out. Spaces before punctuation are kept, which some
        tokenizers would remove.
        """
        kept = ([int(token) for token in row[: self.length(row)]] for row in rows)
        return self.tokenizer.batch_decode(
            [[token for token in row if token not in self._wordless] for row in kept],
            clean_up_tokenization_spaces=False,
        )

    def tokens_of(self, tokens: Tokens, span: slice) -> NDArray[np.bool_]:
        """Whether each token of a row wrote a character within a span of its text, [tokens].

        Args:
            tokens: the row.
            span: start and stop in the row's text, as `decode` returns it.
        """

        def length_of(count: int) -> int:
            return len(self.decode([tokens[:count]])[0])

        # Token k wrote the characters by which the text of k + 1 tokens is longer than that of k tokens. The
        # length never decreases, but it may stay the same: a character's first byte already counts as one.
        counts = range(self.length(tokens) + 1)
        first = bisect_right(counts, span.start, key=length_of) - 1
        complete = bisect_left(counts, span.stop, key=length_of)
        end = max(complete, bisect_right(counts, span.stop, key=length_of) - 1)
        places = np.arange(len(tokens))
        return (places >= first) & (places < end)

    def answers(self, rows: Sequence[Tokens]) -> list[Answer]:
        """The answer in each row of tokens, together with the part that the prompt had begun."""
        if not rows:
            return []
        begun, lasts = self.begun, [row[self.length(row) - 1] if len(row) else None for row in rows]
        return [
            read_answer(text, begun=begun, ended="stop" if last in self.ends else "length")
            for last, text in zip(lasts, self.decode(rows), strict=True)
        ]


def _without_last(tokens: Sequence[int], marked: Iterable[object]) -> tuple[int, ...]:
    """The tokens without the marked ones at the end; `marked` lists the marks from the last to the first."""
    return tuple(tokens[: len(tokens) - len(list(takewhile(bool, marked)))])
