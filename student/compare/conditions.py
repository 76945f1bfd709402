"""What is compared: conditions, the alternatives that validation chooses from, names for folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from urllib.parse import quote

from cache_schema.errors import UsageError
from cache_schema.reader import Cache
from cache_schema.store.files import sha256
from student.runs.settings import Distillation, parse_distillation

NONE = "none"
OR, LIST = "|", ";"
VALUE = re.compile(r"(=[^=:,\s]+)")
LABEL, UNLABELLED = "label=", "unlabelled="
# Words of an alternative that are no loss: options of train-student.
OPTIONS = {LABEL: "--label-weight", UNLABELLED: "--unlabelled"}
# Weights set once; 30 was better than 300 for sp and iusp on one corpus: see tests/experiments.
LADDER = (
    NONE,
    "logits=0.5:temperature=2",
    "temporal=0.1",
    "sp=30 label=1",
    "iusp=30 label=1",
    "temporal=0.1 logits=0.5:temperature=2",
)
SLUG_CHARACTERS = 120
_NEXT_WORD = re.compile(rf" (?={NONE}(?: |$)|[\w.+@-]+=)")


@dataclass(frozen=True, slots=True)
class Condition:
    """A way to learn, or several of which validation chooses one.

    Attributes
    ----------
    pieces : tuple of str
        Each ``none``, or what ``--distill`` gets, joined by single spaces; ``label=W`` among it is
        the weight of the label loss, ``unlabelled=N`` how many unlabelled clips are learned from. A
        value may be a list: ``0.1;0.5``.
    """

    pieces: tuple[str, ...]

    def __str__(self) -> str:
        return f" {OR} ".join(self.pieces)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Every piece with one value of each of its lists, in all combinations.

        >>> Condition(("none", "sp=30;100 label=1")).alternatives
        ('none', 'sp=30 label=1', 'sp=100 label=1')
        """
        return _alternatives(self.pieces)


@cache  # asked for by every run
def _alternatives(pieces: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for piece in pieces for one in _combinations(piece)))


def _combinations(piece: str) -> Iterator[str]:
    parts = [
        [f"={value}" for value in part[1:].split(LIST)] if part.startswith("=") else [part]
        for part in VALUE.split(piece)
    ]
    return map("".join, product(*parts))


def parse_condition(text: str) -> Condition:
    """Read ``none`` or ``LOSS=WEIGHT[:option=value,...] ... [label=W]``, or several with ``|``.

    Each may have ``unlabelled=N``, and lists ``0.1;0.5`` of values.

    >>> parse_condition("temporal=0.1  label=1 | none").alternatives
    ('temporal=0.1 label=1', 'none')

    Raises
    ------
    UsageError
        For an unknown loss or option, or a sum that is none.
    """
    pieces = [" ".join(piece.split()) for piece in text.split(OR)]
    condition = Condition(tuple(dict.fromkeys(pieces)))
    for alternative in condition.alternatives:
        if loose := next((word for word in alternative.split() if word[0] in ":,="), ""):
            raise UsageError(
                f"--condition {text!r}: {loose!r} belongs to what is before it: a blank separates "
                "losses, and none may be within LOSS=WEIGHT:option=value",
                kind="options",
            )
        words = _words(alternative)
        given = [option for word in words if (option := _option_of(word))]
        alone = NONE in words
        weighted = alone and OPTIONS[LABEL] in given
        repeated = len(set(given)) < len(given) or words.count(NONE) > 1
        if repeated or bool(parse_losses(alternative)) == alone or weighted:
            raise UsageError(
                f"--condition {text!r}: expected none, or losses with at most one {LABEL}WEIGHT, and at "
                f"most one {UNLABELLED}CLIPS, got {alternative!r}. For example: --condition 'sp=30 "
                "label=1 | sp=100 label=1'",
                kind="options",
            )
    return condition


def _words(alternative: str) -> list[str]:
    """Part an alternative at its blanks, but for those in the values of a loss's options.

    >>> _words("prompt=0.5:text=dog bark label=1 sp")
    ['prompt=0.5:text=dog bark', 'label=1', 'sp']
    """
    words: list[str] = []
    for part in _NEXT_WORD.split(alternative):
        head, colon, options = part.partition(":")
        words += head.split() or [""]
        words[-1] += colon + options
    return list(filter(None, words))


@cache
def parse_losses(alternative: str) -> tuple[Distillation, ...]:
    """Read the losses of an alternative; raises as `parse_distillation`."""
    words = [word for word in _words(alternative) if not _option_of(word)]
    return () if words == [NONE] else tuple(map(parse_distillation, words))


def _option_of(word: str) -> str | None:
    """Option of ``train-student`` that a word gives; None for a loss."""
    return next((option for start, option in OPTIONS.items() if word.startswith(start)), None)


def signals_as_they_are(conditions: Iterable[Condition]) -> set[str]:
    """Signals that any loss of the conditions reads and does not sharpen.

    >>> signals_as_they_are([parse_condition("none | logits=1 | temporal=1:sharpen=3")])
    {'logits'}
    """
    alternatives = [one for condition in conditions for one in condition.alternatives]
    losses = [loss for one in alternatives for loss in parse_losses(one)]
    return {signal for loss in losses if "sharpen" not in loss.options for signal in loss.signals}


def train_arguments(alternative: str) -> list[str]:
    """Write an alternative as ``train-student`` takes it.

    >>> train_arguments("sp=30 label=1")
    ['--distill', 'sp=30', '--label-weight', '1']
    """
    words: list[str] = []
    for word in _words(alternative):
        option = _option_of(word)
        if option is not None:
            words += [option, word.partition("=")[2]]
        elif word != NONE:
            words += ["--distill", word]
    return words


def supported_conditions(
    texts: Iterable[str], caches: Iterable[Cache]
) -> tuple[list[Condition], dict[str, str]]:
    """Part conditions into those that every cache can serve, and the others with what is missing.

    Returns
    -------
    conditions : list of Condition
    left_out : dict of str to str
        Condition to the first cache that cannot serve it and the signals that it lacks.
    """
    conditions, left_out, opened = [], {}, list(caches)
    for condition in map(parse_condition, texts):
        needed = {
            s for one in condition.alternatives for loss in parse_losses(one) for s in loss.signals
        }
        lacking = {c.root: sorted(needed - set(c.signals)) for c in opened}
        missing = [f"{root} has no {', '.join(names)}" for root, names in lacking.items() if names]
        if missing:
            left_out[str(condition)] = missing[0]
        else:
            conditions.append(condition)
    return conditions, left_out


def folder_name(text: str) -> str:
    """Name a folder after a text: readable, safe, and another one for every other text.

    >>> folder_name("temporal=0.1 logits=0.5:temperature=2")
    'temporal=0.1~logits=0.5:temperature=2'
    """
    name = (
        quote(text, safe="=,+:@", errors="surrogateescape").replace("~", "%7E").replace("%20", "~")
    )
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) <= SLUG_CHARACTERS:
        return name
    return f"{name[:SLUG_CHARACTERS]}~~{sha256(name.encode())[:16]}"
