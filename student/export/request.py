"""What is requested of an export, and what of it does not go together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cache_schema.errors import UsageError, bullet_list
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.plugins import check_derived, load_plugin
from cache_schema.reader import Cache
from cache_schema.store.address import CachePath
from student.export import ANY_LENGTH, EXPORTERS
from student.export.browser_page import MODEL
from student.export.forms import FormSpec, Takes
from student.export.interface import Exporter
from student.models.interface import Student
from student.stream.lengths import TrainingLengths


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is requested; see ``export-student --help``."""

    run: Path
    to: str
    out: Path
    length_s: float | str | None
    waveform: bool
    streaming: bool
    int8: bool
    calibrate: CachePath | None
    clips: int | None
    page: Path | None


def check_request(request: ExportRequest) -> None:
    """Reject options that do not go together; names all that do not."""
    found = {
        "--int8 needs clips to calibrate and to evaluate with: --calibrate CACHE": (
            request.int8 and request.calibrate is None
        ),
        "--clips is how many clips --int8 is calibrated with; add --int8, or leave it out": (
            request.clips is not None and not request.int8
        ),
        "--streaming is for one frame at a time and has no --length-s; leave one of them out": (
            request.streaming and request.length_s is not None
        ),
        "how long are the clips? Give --length-s SECONDS, --length-s any for a form of any length, or "
        "--calibrate CACHE, whose training clips then decide": (
            request.length_s is None and request.calibrate is None and not request.streaming
        ),
        "--page slides a window of samples over its input: add --waveform, and leave --streaming out": (
            request.page is not None and (request.streaming or not request.waveform)
        ),
    }
    _refuse([problem for problem, is_there in found.items() if is_there], "options")


def _refuse(problems: list[str], kind: str) -> None:
    """Raise one error of all problems, if there are any."""
    if len(problems) > 1:
        raise UsageError(f"{len(problems)} problems\n{bullet_list(problems)}", kind=kind)
    if problems:
        raise UsageError(problems[0], kind=kind)


def load_exporter(name: str) -> Exporter:
    """Look an exporter up by name.

    Raises
    ------
    UsageError
        If there is none, or what it needs is not installed.
    """
    try:
        kind = load_plugin(EXPORTERS, name, "exporter")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--to {name} needs {error.name}: pip install 'aftersound[{name}]'", kind="extra"
        ) from None
    check_derived(kind, Exporter, name, "exporter")
    exporter: Exporter = kind()
    return exporter


def check_exporter(exporter: Exporter, request: ExportRequest) -> None:
    """Reject what a format does not have; names all of it."""
    wanted = (
        (request.length_s == ANY_LENGTH, exporter.why_not_any_length, "--length-s any"),
        (request.waveform, exporter.why_not_waveform, "--waveform"),
        (request.int8, exporter.why_not_int8, "--int8"),
        (request.page is not None and exporter.file_name != MODEL, f"it runs {MODEL}", "--page"),
    )
    _refuse(
        [
            f"{option}: not with --to {request.to}: {why}"
            for requested, why, option in wanted
            if requested and why
        ],
        "form",
    )


def choose_form(
    request: ExportRequest, student: Student, exporter: Exporter, cache: Cache | None
) -> tuple[FormSpec, str]:
    """Choose the requested form; where no length was requested, one that fits the training clips.

    Returns
    -------
    spec : FormSpec
        The form.
    why : str
        Why it has this length; empty where it was requested.
    """
    takes: Takes = "waveform" if request.waveform else "features"
    static = partial(FormSpec, kind="static", takes=takes)
    dynamic = partial(
        FormSpec, kind="dynamic", takes=takes, shortest_frames=student.shortest_frames
    )
    if request.streaming:
        return FormSpec(kind="step", takes=takes), ""
    if request.length_s == ANY_LENGTH:
        return dynamic(), ""
    front_end = FRONT_ENDS[student.front_end]
    if request.length_s is not None:
        return static(samples=round(float(request.length_s) * front_end.sample_rate_hz)), ""
    if cache is None:
        raise UsageError("no length of clips", kind="options")
    lengths = TrainingLengths.of(cache, front_end)
    if not lengths.are_ragged:
        return static(samples=lengths.commonest), f"the commonest length of {lengths}"
    why_not = student.why_not_any_length or exporter.why_not_any_length
    if not why_not:
        return dynamic(), f"no length is common among {lengths}"
    samples = lengths.holding_most
    return static(samples=samples), (
        f"it holds {1 - lengths.share_longer(samples):.0%} of {lengths}; no form of any length: "
        f"{why_not.partition('. ')[0]}"
    )
