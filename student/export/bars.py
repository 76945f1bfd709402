"""What a written file is held to; one that misses a bar is not kept."""

from __future__ import annotations

from cache_schema.errors import RunError, bullet_list
from student.export.forms import FormSpec
from student.export.parity import Parity

FLOAT_DIFFERENCE = {"features": 1e-5, "waveform": 1e-4}
# Where the student's own float32 is further from its float64, a file cannot be held to less. Attention
# with scores of 100 is such a case.
TIMES_ROUNDING, MAX_TIMES_BAR = 4, 10
INT8_AGREEMENT = 0.97
INT8_LOSS = 0.01
INT8_SIZE = 0.35
# What no quantisation makes smaller weighs more in a small file.
INT8_SIZE_SMALL, SMALL_BYTES = 0.45, 512_000


def check_parity(parity: Parity, spec: FormSpec, name: str) -> None:
    """Reject a float file whose outputs differ from its student's.

    Raises
    ------
    RunError
        Kind ``"parity"``, with both values of each bar that is missed.
    """
    bar = allowed_difference(parity, spec)
    problems = []
    if not parity.largest_difference <= bar:
        problems.append(f"largest difference {parity.largest_difference:.2g}, allowed {bar:.2g}")
    if parity.agreement < 1:
        problems.append(f"the same class for {parity.agreement:.1%} of the clips, needed 100 %")
    if problems:
        raise RunError(
            f"{name} does not give its student's outputs on {parity.source}\n{bullet_list(problems)}\n"
            "Nothing was written. A student whose form on a device (step, for_clip) computes something "
            "else gives this, and weights that are not finite: score the run with evaluate-student",
            kind="parity",
        )


def allowed_difference(parity: Parity, spec: FormSpec) -> float:
    """Bar of a float file's largest difference."""
    bar = FLOAT_DIFFERENCE[spec.takes]
    return min(max(bar, TIMES_ROUNDING * parity.rounding), MAX_TIMES_BAR * bar)


def check_int8(
    parity: Parity,
    bytes_int8: int,
    bytes_float: int,
    *,
    has_step: bool,
    more_clips: bool,
    name: str,
) -> None:
    """Reject an int8 file whose predictions differ too often, or that is too large.

    Parameters
    ----------
    parity : Parity
        Of the int8 file.
    bytes_int8, bytes_float : int
        Of both files, without the front end, which stays in float.
    has_step : bool
        Whether the student could be written as a step instead.
    more_clips : bool
        Whether it may have been calibrated with more clips than it was.
    name : str
        Of the file.

    Raises
    ------
    RunError
        Kind ``"int8"``, with both values of each bar that is missed.
    """
    most = INT8_SIZE_SMALL if bytes_float < SMALL_BYTES else INT8_SIZE
    problems, otherwise = [], ""
    if parity.agreement < INT8_AGREEMENT:
        problems.append(
            f"the float student's class for {parity.agreement:.1%} of {parity.clips} clips, needed "
            f"{INT8_AGREEMENT:.0%}"
        )
    before, after = parity.scores.student, parity.scores.file
    if before is not None and after is not None and before - after > INT8_LOSS:
        problems.append(
            f"{parity.metric} of them {after:.4f}, float {before:.4f}: allowed to lose {INT8_LOSS:g}"
        )
    if problems and more_clips:  # which change no size
        otherwise = ", or calibrate with more clips (--clips)"
    if not bytes_int8 <= most * bytes_float:
        problems.append(
            f"{bytes_int8:,} bytes, float {bytes_float:,}: {bytes_int8 / bytes_float:.2f} of it, "
            f"allowed {most:g}"
        )
    if problems:
        step = " Its recurrence becomes small as a step: --streaming." if has_step else ""
        raise RunError(
            f"{name} in int8 misses {len(problems)} bar(s)\n{bullet_list(problems)}\nNothing was "
            f"written. Export it in float (without --int8){otherwise}.{step}",
            kind="int8",
        )
