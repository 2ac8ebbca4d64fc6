"""F1 and EM of extractive answers as CMRC 2018 counts them (Cui et al. 2019).

Texts are lower-cased and lose their punctuation; Chinese characters count singly, other runs of characters as words
between blanks (CMRC's script cuts these further by NLTK's rules for English). F1 is that of the longest common run
of these units.
"""

from __future__ import annotations

import re

PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""The list of CMRC's script. ASCII's full stop, comma and brackets are not in it: 3.5 stays 3.5."""

_CHINESE = re.compile("[\u4e00-\u9fa5]")


def units(text: str) -> list[str]:
    """The units that are compared."""
    found: list[str] = []
    word = ""
    for character in [*without_punctuation(text), " "]:
        single = bool(_CHINESE.match(character))
        if single or character.isspace():
            found += [word] * bool(word) + [character] * single
            word = ""
        else:
            word += character
    return found


def common_substring(first: list[str], second: list[str]) -> int:
    """Length of the longest run of units that both have."""
    best, lengths = 0, [0] * (len(second) + 1)
    for unit in first:
        before = 0
        for place, other in enumerate(second, 1):
            before, lengths[place] = lengths[place], before + 1 if unit == other else 0
            best = max(best, lengths[place])
    return best


def overlap_f1(found: str, right: str) -> float:
    """F1 of the longest common substring, 0 to 1."""
    found_units, right_units = units(found), units(right)
    common = common_substring(found_units, right_units)
    if common == 0:
        return 0.0
    precision, recall = common / len(found_units), common / len(right_units)
    return 2 * precision * recall / (precision + recall)


def exact_match(found: str, right: str) -> float:
    """1 when both are the same but for punctuation, case and blanks at the ends, else 0."""
    return float(without_punctuation(found) == without_punctuation(right))


def without_punctuation(text: str) -> str:
    """Lower case, no punctuation."""
    return "".join(c for c in text.lower().strip() if c not in PUNCTUATION)
