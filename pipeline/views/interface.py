"""What view steps check of their options alike."""

from __future__ import annotations

from cache_schema.errors import UsageError

# 10 to the 5th in amplitude: more drowns or deafens, and far more leaves float32.
MOST_DB = 100.0


def check_range(step: str, low_db: float, high_db: float) -> None:
    """Refuse a range of decibels that nothing can be drawn from.

    Raises
    ------
    UsageError
        With both ends.
    """
    if not -MOST_DB <= low_db <= high_db <= MOST_DB:
        raise UsageError(
            f"view {step}: low_db={low_db:g} and high_db={high_db:g} must be a range within "
            f"{-MOST_DB:g} to {MOST_DB:g}",
            kind="options",
        )
