"""``precompute-teacher``: run the large teacher once over all audio and keep its outputs."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cache_schema.command_line.command import Command
from cache_schema.command_line.parameters import PluginText
from cache_schema.devices import check_device
from cache_schema.errors import RunError, UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.inspection.cache_cautions import teacher_cautions, unfinished_parts
from cache_schema.inspection.repeated import repeated_cautions
from cache_schema.inspection.summary import human_bytes, views_missing_from_teachers
from cache_schema.limits import MAX_PROCESSES, MAX_SEED
from cache_schema.metadata import CommitRecord, PartPlan
from cache_schema.paths import CacheOutput, LocalPath
from cache_schema.plugins import plugin_names
from cache_schema.reader import open_cache
from cache_schema.signal_names import LOGITS, command_of, teacher_label
from cache_schema.store.address import CachePath, resolved
from cache_schema.terminal import Terminal
from cache_schema.text import one_line, shell_word
from cache_schema.writer import incomplete_units
from pipeline.corpora.argument import CORPUS, corpora_argument
from pipeline.corpus_summary import corpus_summary
from pipeline.precompute.inputs import Inputs, Request
from pipeline.precompute.parts import kept_units_note
from pipeline.precompute.plan import taken_lengths
from pipeline.precompute.plan_prices import Rates, prices, read_rates
from pipeline.precompute.plan_report import PlanReport, plan_report
from pipeline.precompute.precompute import Precompute
from pipeline.precompute.repair import repair_cache
from pipeline.precompute.spot_check import check
from pipeline.teachers import TEACHERS
from pipeline.views import VIEWS

# Without a terminal (a batch job's log) progress is a line this often.
LINE_EVERY_S = 15.0
MAX_VIEWS = 100_000
MAX_UNIT_ROWS = 1 << 20
MAX_CHECK_ROWS = 10**12
MAX_REASONS_SHOWN = 10
PROCESSES_SHOWN = (8, 64)  # so many at once, in a plan
_ADDRESS = re.compile(
    r"((tcp|tls|ws|wss)://)?([^\s/:@?#\[\]]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})"
)


@click.command("precompute-teacher", cls=Command, goes_on=True)
@corpora_argument
@click.option(
    "--unlabelled",
    multiple=True,
    metavar="CORPUS",
    type=CORPUS,
    help="Clips to train on by the teacher's outputs alone, repeatable; their labels are not read.",
)
@click.option(
    "--teacher",
    required=True,
    type=PluginText(TEACHERS, "teacher", others=True),
    help="Hugging Face folder or hub id, or 'toy'.",
)
@click.option(
    "--out",
    type=CacheOutput(),
    required=True,
    help="The cache to write: a folder, or an address such as s3://BUCKET/NAME.zarr.",
)
@click.option(
    "--teacher-name",
    metavar="WORD",
    help="Add the teacher under this name to a cache that has one; its signals are NAME@WORD.",
)
@click.option(
    "--signal",
    "signals",
    multiple=True,
    metavar="NAME[:OPTION=VALUE]",
    help="Store this signal beside logits, temporal_attention and waveform; smaller with "
    "temporal_attention:storage=u8log (one byte a frame) or logits:top_k=K (the K largest).",
)
@click.option(
    "--teacher-option",
    "teacher_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the teacher's family, for example input=native or residual=false.",
)
@click.option(
    "--views",
    type=click.IntRange(1, MAX_VIEWS),
    default=1,
    show_default=True,
    help="Seeded variants of each training clip.",
)
@click.option(
    "--view",
    "view_steps",
    multiple=True,
    type=PluginText(VIEWS, "view"),
    metavar="NAME[:option=value,...]",
    help=f"Step of the view recipe: {', '.join(plugin_names(VIEWS, 'view'))}. Repeat for a chain.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True)
@click.option(
    "--unit-rows",
    type=click.IntRange(1, MAX_UNIT_ROWS),
    default=1024,
    show_default=True,
    help="Most rows in a work unit, the atom of resuming.",
)
@click.option(
    "--codec",
    type=click.Choice(["crc32c", "zstd"]),
    default="crc32c",
    show_default=True,
    help="zstd compresses before the checksum: smaller for networks, slower to read.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, MAX_PROCESSES),
    default=0,
    show_default=True,
    help="Processes of a Dask cluster started here; 0 computes in this process.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Compute on a running Dask cluster instead.")
@click.option(
    "--slice",
    "slice_text",
    metavar="I/N",
    help="Compute only every N-th work unit, from the I-th: a task of a batch system's array. N such "
    "commands make the cache, at once or not; the last one seals it.",
)
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, write nothing.")
@click.option(
    "--rates",
    "rates_file",
    type=LocalPath(dir_okay=False),
    metavar="FILE.json",
    help="With --plan: prices of an hour, a month, requests; what it would cost.",
)
@click.option(
    "--check",
    "check_rows",
    metavar="N|all",
    help="Recompute N random rows of a finished cache and compare.",
)
@click.option("--repair", is_flag=True, help="Recompute the damaged work units of a cache.")
@click.option("--device", default="cpu", show_default=True, help="Torch device of the teacher.")
def main(
    teacher_options: Sequence[str],
    plan_only: bool,
    rates_file: Path | None,
    check_rows: str | None,
    repair: bool,
    slice_text: str | None,
    **request: Any,
) -> None:
    """Store a teacher's outputs for every clip of CORPUS, for students to learn from.

    CORPUS is KIND:PATH[?option=value&...], for example speech-commands:/data/sc?labels=12,
    folder:/data/sounds or csv:/data/clips.csv; several are joined. The same command again continues or
    reports that all is done; with a further --signal or more --views it adds only those. With another
    --teacher and a --teacher-name it adds that teacher's outputs for the same samples, in all views.
    """
    console = Terminal(soft_wrap=True)
    _check_options(plan_only, check_rows, repair, slice_text, **request)
    rates = _rates(rates_file, plan_only)
    pairs = dict(_pair(text) for text in teacher_options)
    request["out"] = resolved(request["out"])
    precompute = Precompute(Request(teacher_options=pairs, **request))
    for note in precompute.inputs.notes:
        console.print(note)
    if check_rows is None and not repair:
        _print_summary(console, precompute)
    if plan_only:
        _print_plan(console, plan_report(precompute), rates)
    elif check_rows is not None:
        report = check(precompute, _row_count(check_rows))
        origin = (
            "from the cached waveform"
            if precompute.inputs.teacher_name
            else "from unchanged sources"
        )
        console.print(
            f"{report.rows} rows recomputed {origin}. Largest deviation as a share of the signal's "
            "scale:"
        )
        for name, share in report.deviations.items():
            console.print(f"  {name} {share:.2e}")
    elif repair:
        with _Reporter(console, precompute.inputs) as reporter:
            found = repair_cache(precompute, reporter.start, reporter.unit)
        for damage in found:
            console.print(f"repaired: {damage}")
        console.print("Nothing was damaged." if not found else f"{len(found)} object(s) repaired.")
    else:
        _run(console, precompute, None if slice_text is None else _slice(slice_text))


def _check_options(
    plan_only: bool,
    check_rows: str | None,
    repair: bool,
    slice_text: str | None,
    *,
    workers: int,
    scheduler: str | None,
    device: str,
    **_: Any,
) -> None:
    """Reject options that contradict each other, or that nothing could be computed with."""
    modes = {"--plan": plan_only, "--check": check_rows is not None, "--repair": repair}
    if sum(modes.values()) > 1:
        given = ", ".join(name for name, given in modes.items() if given)
        raise UsageError(f"give one of {given}: each does something else", kind="options")
    if check_rows is not None:
        _row_count(check_rows)
    if slice_text is not None:
        _slice(slice_text)
        modes["--scheduler"] = scheduler is not None
        if others := [name for name, given in modes.items() if given]:
            raise UsageError(
                f"--slice {slice_text} computes units in this process or its --workers; leave out "
                f"{', '.join(others)}",
                kind="options",
            )
    if scheduler is not None:
        found = _ADDRESS.fullmatch(scheduler)
        if found is None or not 0 < int(found["port"]) < 1 << 16:
            raise UsageError(
                f"--scheduler {scheduler!r}: expected HOST:PORT, or tcp://, tls://, ws:// or wss:// "
                "before it, as a Dask scheduler prints it",
                kind="options",
            )
    if scheduler and workers:
        raise UsageError(
            f"--workers {workers} starts a cluster, --scheduler {scheduler} uses another; give one of "
            "them.",
            kind="options",
        )
    if (scheduler or workers) and any(modes.values()) and not repair:
        raise UsageError(
            "--plan and --check compute in this process; leave out --workers and --scheduler",
            kind="options",
        )
    if device != "cpu":
        import torch  # seconds that neither --help nor a refusal need take

        check_device(device, torch, elsewhere=bool(scheduler))


def _print_summary(console: Terminal, precompute: Precompute) -> None:
    inputs = precompute.inputs
    kind, teacher = inputs.request.corpora[0].partition(":")[0], inputs.teacher
    lengths = zip(inputs.clips, inputs.lengths.tolist(), strict=True)
    wrong_length = [clip for clip, samples in lengths if clip.frames and not samples]
    takes = taken_lengths(teacher)
    for line in corpus_summary(
        inputs.corpus, kind, teacher.classes, wrong_length=wrong_length, takes=takes
    ):
        console.print(line)
    if LOGITS not in teacher.signals:
        console.print(
            "no logits  the teacher has no classification head (finetune-teacher trains one): students "
            "can learn from its other signals"
        )
    rates_hz = sorted({preset.sample_rate_hz for preset in FRONT_ENDS.values()})
    if inputs.waveform_hz not in rates_hz:
        console.print(_rate_warning(inputs.waveform_hz, " or ".join(map(str, rates_hz))))


def _rate_warning(rate_hz: int, taken: str) -> str:
    """A cache has the rate of its first teacher, and students take that of their front ends."""
    return (
        f"warning: the cache will have {rate_hz} Hz, as its teacher takes, and the students' "
        f"front ends take {taken} Hz. Make a cache with a {taken}-Hz teacher first, and add this one to "
        "it by --teacher-name WORD: it is given the same clips, resampled"
    )


def _run(console: Terminal, precompute: Precompute, part: tuple[int, int] | None) -> None:
    out, left = precompute.out, 0
    rest = "already there" if part is None else "of other slices or already there"
    with _Reporter(console, precompute.inputs, rest) as reporter:
        try:
            if part is None:
                precompute.run(reporter.start, reporter.unit)
            else:
                left = precompute.run_slice(*part, reporter.start, reporter.unit)
        except KeyboardInterrupt:
            if reporter.plan is None:
                raise
            raise _stopped(out, reporter.plan) from None
    state = f"has {left} work units left, which are other slices'" if left else "is complete"
    if not reporter.units:
        console.print(f"{out} {state}: nothing to do.")
    else:
        console.print(
            f"{out} {state}: {reporter.units} work units computed, "
            f"{reporter.quarantined} rows quarantined.",
        )
    for line in reporter.reasons[:MAX_REASONS_SHOWN]:
        console.print(f"  quarantined {line}")
    if (more := len(reporter.reasons) - MAX_REASONS_SHOWN) > 0:
        console.print(f"  and {more} more; all of them: inspect-cache {shell_word(out)} --json")
    if left:
        return
    cache = open_cache(out)
    for name, views in views_missing_from_teachers([part.plan for part in cache.parts]).items():
        console.print(
            f"No student can learn from {teacher_label(name)} yet, which has not processed view(s) "
            f"{', '.join(map(str, views))}: repeat {command_of(name)}"
        )
    of_teachers = (line for name in cache.teachers for line in teacher_cautions(cache, name))
    for line in (*unfinished_parts(cache), *repeated_cautions(cache), *of_teachers):
        console.print(f"warning: {line}")
    console.print(f"Look at it: inspect-cache {shell_word(out)}")


def _stopped(out: CachePath, plan: PartPlan) -> RunError:
    total = len(plan.units.rows)
    kept = total - len(incomplete_units(out, plan))
    return RunError(
        f"stopped. {kept} of {total} work units of {plan.name} in {out} are kept; repeat the command to "
        "go on.",
        kind="interrupted",
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--teacher-option {text!r}: expected NAME=VALUE", kind="options")
    return name, value


def _slice(text: str) -> tuple[int, int]:
    """Read which slice of how many."""
    found = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(
            f"--slice {text!r}: expected I/N with I from 1 to N, and N up to 999999, for example "
            "--slice 1/8",
            kind="options",
        )
    return number, count


def _row_count(text: str) -> int | None:
    if text == "all":
        return None
    count = int(text) if re.fullmatch("[0-9]{1,13}", text) else 0
    if not 1 <= count <= MAX_CHECK_ROWS:
        raise UsageError(
            f"--check {text!r}: expected a number of rows from 1 to {MAX_CHECK_ROWS}, or 'all'",
            kind="options",
        )
    return count


class _Reporter:
    """Shows progress with rate and time left: a bar on a terminal, lines in a log."""

    def __init__(self, console: Terminal, inputs: Inputs, rest: str = "already there") -> None:
        self._console, self._inputs, self._rest = console, inputs, rest
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.plan: PartPlan | None = None
        self.units = self.quarantined = 0
        self.reasons: list[str] = []
        self._rows = self._total = 0
        self._started = self._last_line = time.monotonic()
        self._task = self._bar.add_task("", total=None, rate="", visible=False)

    def __enter__(self) -> _Reporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, plan: PartPlan, units: Sequence[int]) -> None:
        """Begin a part."""
        self.plan = plan
        self._rows, self._total = 0, sum(plan.units.rows[unit] for unit in units)
        self._started = time.monotonic()
        if note := kept_units_note(self._inputs, plan):
            self._console.print(f"note: {note}")
        names = ", ".join(signal.name for signal in plan.signals)
        done = len(plan.units.rows) - len(units)
        self._console.print(
            f"{plan.name}: {names}; {len(units)} work units to compute"
            + (f", {done} {self._rest}" if done else ""),
        )
        self._bar.update(
            self._task, description=plan.name, total=self._total, completed=0, visible=True
        )

    def unit(self, plan: PartPlan, record: CommitRecord) -> None:
        """Count a committed unit."""
        self.units += 1
        self._rows += record.rows
        self.quarantined += len(record.quarantine)
        first = plan.units.first_clip[record.unit]
        self.reasons += [
            f"{one_line(self._inputs.clips[first + q.row].id)}: {one_line(q.reason)}"
            for q in record.quarantine
        ]
        now = time.monotonic()
        rate = self._rows / max(now - self._started, 1e-9)
        self._bar.update(self._task, completed=self._rows, rate=f"{rate:.1f}/s")
        if not self._console.is_terminal and now - self._last_line > LINE_EVERY_S:
            self._last_line = now
            left_s = (self._total - self._rows) / rate
            self._console.print(
                f"{plan.name}: {self._rows} of {self._total} rows, {rate:.1f} rows/s, "
                f"{left_s:.0f} s left, {self.quarantined} quarantined",
            )


def _rates(file: Path | None, plan_only: bool) -> Rates | None:
    if file is not None and not plan_only:
        raise UsageError("--rates belongs to --plan", kind="options")
    return None if file is None else read_rates(file)


def _print_plan(console: Terminal, report: PlanReport, rates: Rates | None) -> None:
    console.print(
        f"{report.clips} clips, {report.hours:.2f} h of audio, {report.unreadable} unusable by their "
        f"header; {report.rows} rows in {report.units} work units"
    )
    table = Table("signal", "bytes", "per row", box=None)
    for name, size in report.signal_bytes.items():
        table.add_row(name, human_bytes(size), human_bytes(size / max(report.rows, 1)))
    console.print(table)
    console.print(
        f"about {human_bytes(report.total_bytes)} in {report.objects} objects; an epoch of training "
        f"reads at most {report.epoch_objects} objects, {human_bytes(report.epoch_bytes)}"
    )
    if report.units:
        times = ", ".join(_duration(report.estimated_s / n) + f" with {n}" for n in PROCESSES_SHOWN)
        console.print(
            f"{_duration(report.estimated_s)} in one process (timed on a few clips), {times}; each "
            f"takes about {human_bytes(report.process_bytes)} of memory"
        )
    for line in prices(report, rates) if rates else ():
        console.print(line)
    console.print("Nothing was written.")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    main()
