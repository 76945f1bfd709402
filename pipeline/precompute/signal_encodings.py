"""How signals are stored: what ``--signal`` may request, and what a cache has.

Of temporal attention `u8log` keeps one byte a frame, of logits `top_k` keeps the largest; everything
else is float16, or the waveform's own 16-bit samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cache_schema.encodings import top_k
from cache_schema.errors import UsageError
from cache_schema.metadata import PartPlan, SignalSpec
from cache_schema.plugins import parse_named_options, typed_options
from cache_schema.signal_names import LOGITS, TEMPORAL_ATTENTION, signal_of

# "f16", "u8log", or how many logits are kept.
Storage = str | int


def parse_signals(texts: Sequence[str]) -> tuple[list[str], dict[str, Storage]]:
    """Split ``NAME[:option=value]`` into names and, where it is given, how it is to be stored.

    ``storage=f16|u8log`` is given by its name, ``top_k=K`` as a number.

    Raises
    ------
    UsageError
        For an unknown option, or a storage type that is not for this signal.
    """
    given: dict[str, tuple[dict[str, Any], str]] = {}  # options and text of each signal
    storage: dict[str, Storage] = {}
    for text in texts:
        name, options = parse_named_options(text)
        typed = typed_options(_signal_options, options, f"signal {name}")
        if len(typed) > 1:
            raise UsageError(f"signal {name}: give storage or top_k, not both", kind="options")
        before, earlier = given.setdefault(name, (typed, text))
        if typed != before:
            raise UsageError(
                f"--signal {text} contradicts --signal {earlier}; leave one out", kind="options"
            )
        for value in typed.values():
            storage[name] = value
    _check_encodings_fit(storage)
    return list(given), storage


def _signal_options(
    *, storage: Literal["f16", "u8log"] | None = None, top_k: int | None = None
) -> None:
    """The options of ``--signal``, for :func:`typed_options`."""


def _check_encodings_fit(storage: Mapping[str, Storage]) -> None:
    attention = [n for n, s in storage.items() if s == "u8log" and n != TEMPORAL_ATTENTION]
    logits = [n for n, s in storage.items() if isinstance(s, int) and n != LOGITS]
    problems = []
    if attention:
        problems.append(
            f"storage=u8log is for {TEMPORAL_ATTENTION} (rows sum to 1), not for {', '.join(attention)}"
        )
    if logits:
        problems.append(f"top_k is for {LOGITS}, not for {', '.join(logits)}")
    if problems:
        raise UsageError("; ".join(problems), kind="options")


def cached_storage(plans: Sequence[PartPlan]) -> dict[str, Storage]:
    """How each signal of one teacher's parts is stored, as :func:`parse_signals` would give it."""
    return {signal_of(spec.name): _storage_of(spec) for plan in plans for spec in plan.signals}


def _storage_of(spec: SignalSpec) -> Storage:
    if spec.dtype == "uint16":
        return top_k.k_of_width(*spec.row_shape)
    return "u8log" if spec.dtype == "uint8" else "f16"


def storage_as_options(storage: Mapping[str, Storage]) -> dict[str, str]:
    """Storage types as a user gives them."""
    return {n: f"top_k={s}" if isinstance(s, int) else s for n, s in storage.items()}
