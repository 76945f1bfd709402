"""What converters print is kept back, and what they raise becomes one line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest

from cache_schema.errors import RunError
from student.export.converters import converting, hushed


def test_nothing_is_shown_of_a_converter_and_everything_after_it(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with hushed():
        print("progress")
        print("progress", file=sys.stderr)
        os.write(2, b"compiled code\n")
        warnings.warn("a warning", FutureWarning, stacklevel=1)
        logging.getLogger("converter").error("a log")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    print("said")
    os.write(2, b"said too\n")
    logging.getLogger("converter").error("a log")
    assert capfd.readouterr() == ("said\n", "said too\n")
    assert [record.message for record in caplog.records] == ["a log"]
    with pytest.warns(FutureWarning):
        warnings.warn("a warning", FutureWarning, stacklevel=1)


def test_an_error_of_a_hushed_converter_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), hushed():
        raise ValueError("broken")
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"


def test_a_closed_standard_error_is_no_obstacle() -> None:
    program = "from student.export.converters import hushed\nwith hushed(): print(1)\nprint(2)"
    found = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, program],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (found.returncode, found.stdout) == (0, "2\n")


@pytest.mark.parametrize(
    ("message", "reported"),
    [
        ("first\nlast", "ValueError: last"),
        ("failed: a.py:8: error: no 'tfl.pow' of f64\nsee operation\n", "ValueError: no 'tfl.pow'"),
        ("", "ValueError: no message"),
        ("\x1b[31mred" + "x" * 5000, "ValueError"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_one_short_line(message: str, reported: str) -> None:
    with pytest.raises(RunError) as refused, converting("LiteRT"):
        raise ValueError(message)
    output = str(refused.value)
    assert output.startswith("LiteRT cannot hold this form: ValueError: ")
    assert reported in output
    assert len(output) < 400
    assert output.isprintable()
    assert refused.value.kind == "format"


@pytest.mark.parametrize("error", [OSError(28, "No space left"), MemoryError()])
def test_disk_and_memory_are_no_fault_of_the_format(error: Exception) -> None:
    with pytest.raises(type(error)), converting("LiteRT"):
        raise error


def test_the_cause_of_a_wrapped_error_is_reported() -> None:
    wrapped = ValueError("see above\n(the full trace is above)")
    wrapped.__cause__ = KeyError("no such size")
    with pytest.raises(RunError, match=r"KeyError: 'no such size'$"), converting("X"):
        raise wrapped
