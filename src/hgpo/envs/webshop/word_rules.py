"""Two rules that split a text into words, each a pattern for the package regex (VERSION1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

WordRule = Literal["recorded", "lucene"]
"""The names of the rules: that of the search in the recorded episodes, and that of Lucene 8.11."""

# The rule "recorded": sequences of letters, digits and underscores, with single punctuation marks between
# letters or between digits; symbols of some blocks are words by themselves.
_ROW = r"[\p{L}\p{N}_]+"
_RECORDED = (
    r"[\u25B6\u25C0\u2600-\u27BF\U0001F000-\U0001FAFF]"
    rf"|{_ROW}(?:(?:(?<=\p{{L}})[.:'‘’](?=\p{{L}})|(?<=\d)[.,'‘’](?=\d)){_ROW})*"
)

# The rule "lucene": the word boundaries of Unicode's annex 29 (version 9.0), with ideographs and Hiragana as
# separate words, and the emoji sequences of Unicode's technical standard 51 (version 11).


def _characters(ranges: str) -> str:
    """The content of a character class, from hexadecimal code points and ranges of them."""
    return re.sub(r"[0-9A-F]+", lambda number: f"\\U{int(number[0], 16):08X}", ranges).replace(" ", "")


# Characters that are emoji without a selector after them.
_EMOJI = _characters(
    "A9 AE 203C 2049 2122 2139 2194-2199 21A9-21AA 231A-231B 2328 2388 23CF 23E9-23F3 23F8-23FA 24C2 "
    "25AA-25AB 25B6 25C0 25FB-25FE 2600-2605 2607-2612 2614-2685 2690-2705 2708-2712 2714 2716 271D 2721 "
    "2728 2733-2734 2744 2747 274C 274E 2753-2755 2757 2763-2767 2795-2797 27A1 27B0 27BF 2934-2935 "
    "2B05-2B07 2B1B-2B1C 2B50 2B55 3030 303D 3297 3299 1F000-1F0FF 1F10D-1F10F 1F12F 1F16C-1F171 "
    "1F17E-1F17F 1F18E 1F191-1F19A 1F1AD-1F1E5 1F201-1F20F 1F21A 1F22F 1F232-1F23A 1F23C-1F23F "
    "1F249-1F3FA 1F400-1F53D 1F546-1F64F 1F680-1F6FF 1F774-1F77F 1F7D5-1F7FF 1F80C-1F80F 1F848-1F84F "
    "1F85A-1F85F 1F888-1F88F 1F8AE-1F8FF 1F90C-1F93A 1F93C-1F945 1F947-1FFFD"
)
_SKIN = r"\U0001F3FB-\U0001F3FF"
_SELECTORS = r"\uFE0E\uFE0F"
# Accents, selectors and invisible joiners, which belong to the character before them.
_MARK = rf"[\p{{WB=Format}}\p{{WB=Extend}}\p{{WB=ZWJ}}]--[{_SKIN}]"
_MARKS = rf"[{_MARK}]*+"
# Characters that became letters in Unicode after version 9.0.
_NO_LETTERS = _characters(
    "B8 2C2-2C5 2D2-2D7 2DE-2DF 2E5-2EB 2ED 2EF-2FF 55A-55C 55E-55F 58A 70F A708-A716 A720-A721 A789-A78A "
    "AB5B"
)
_LETTER = rf"[[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]--[{_NO_LETTERS}]]{_MARKS}"
_HEBREW = rf"\p{{WB=Hebrew_Letter}}{_MARKS}"
_DIGIT = rf"[\p{{WB=Numeric}}\uFF10-\uFF19]{_MARKS}"
_KATAKANA = rf"\p{{WB=Katakana}}{_MARKS}"
_LOW_LINE = rf"\p{{WB=ExtendNumLet}}{_MARKS}"
_IN_WORDS = rf"[\p{{WB=MidLetter}}\p{{WB=MidNumLet}}':]{_MARKS}"
_IN_NUMBERS = rf"[\p{{WB=MidNum}}\p{{WB=MidNumLet}}']{_MARKS}"
_RUN = (
    rf"(?:(?:{_KATAKANA})++"
    rf"|(?:{_HEBREW}(?:'{_MARKS}|\"{_MARKS}{_HEBREW})"
    rf"|{_DIGIT}(?:{_IN_NUMBERS}{_DIGIT})*+|{_LETTER}(?:{_IN_WORDS}{_LETTER})*+)++)"
)
_ALPHANUMERIC = rf"(?:{_LOW_LINE})*+{_RUN}(?:(?:{_LOW_LINE})++{_RUN})*+(?:{_LOW_LINE})*+"
# A shortcut for most English words: the character that follows cannot belong to the word.
_PLAIN = r"[A-Za-z0-9]++(?![^\x00-\x7F]|[_.,:;'])"
# Marks of an emoji; a joiner before another emoji does not count as a mark.
_EMOJI_MARKS = rf"(?:[{_MARK}--[{_SELECTORS}\u200D]]|\u200D(?!\u200D*+[{_EMOJI}{_SKIN}]))*+"
_ONE_EMOJI = (
    rf"(?:(?:\u200D*\p{{Emoji_Modifier_Base}}{_EMOJI_MARKS})?[{_SKIN}]{_EMOJI_MARKS}"
    rf"|\u200D*[{_EMOJI}]{_EMOJI_MARKS}\uFE0F?)"
)
_AT_EMOJI = rf"(?=[{_EMOJI}{_SKIN}\u200D])"
_JOINED_EMOJI = rf"{_AT_EMOJI}{_ONE_EMOJI}(?:\u200D{_ONE_EMOJI})++"
_TAGGED_EMOJI = rf"{_AT_EMOJI}{_ONE_EMOJI}(?:[\U000E0020-\U000E007E]++\U000E007F)?"
_KEY_CAP = rf"[#*][{_MARK}--[{_SELECTORS}]]*\uFE0F?\u20E3[{_MARK}--[{_SELECTORS}]]*"
_FLAG = rf"(?:\p{{WB=Regional_Indicator}}{_MARKS}){{2}}"
_SOUTH_EAST_ASIAN = rf"(?:\p{{LineBreak=Complex_Context}}{_MARKS})++"
_IDEOGRAPH = rf"[\p{{Script=Han}}\p{{Script=Hiragana}}]{_MARKS}"
_LUCENE = "|".join(
    (_PLAIN, _JOINED_EMOJI, _ALPHANUMERIC, _TAGGED_EMOJI, _KEY_CAP, _FLAG, _SOUTH_EAST_ASIAN, _IDEOGRAPH)
)

PATTERNS: Mapping[WordRule, str] = {"recorded": _RECORDED, "lucene": _LUCENE}
