"""A clip: one labelled recording, as corpora yield it and the cache lists it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One labelled recording or one stretch of a longer one.

    Attributes
    ----------
    id : str
        Unique in its corpus.
    path : str
        POSIX path relative to the corpus root; never leaves it.
    labels : tuple of str
        Class names; empty means unlabelled, unless `none_present`.
    split : str
        ``"train"``, ``"validation"``, ``"test"`` or a name of the corpus.
    start_s, end_s : float
        The stretch in seconds; ``end_s=None`` means to the end of the file.
    frames : int
        Source samples per channel in the stretch by the header scan; 0 when the header is unreadable.
    source_rate_hz : int
        Sample rate of the file; 0 when the header is unreadable.
    none_present : bool
        Annotated for every class, with none present: labelled, and a negative of all (multi-label).
    group : str
        Speaker, session or place that it belongs to; empty where the corpus names none.
    """

    id: str
    path: str
    labels: tuple[str, ...]
    split: str
    start_s: float = 0.0
    end_s: float | None = None
    frames: int = 0
    source_rate_hz: int = 0
    none_present: bool = False
    group: str = ""

    @property
    def labelled(self) -> bool:
        """Whether anybody labelled it."""
        return bool(self.labels) or self.none_present
