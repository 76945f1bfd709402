"""``inspect-cache``: show, verify and plot a cache. Needs neither torch nor transformers."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np
from rich.table import Table

from cache_schema.command_line.command import Command
from cache_schema.command_line.parameters import complete_clip_ids
from cache_schema.errors import CacheError, UsageError
from cache_schema.inspection.summary import (
    clip_facts,
    find_clip,
    human_bytes,
    listed_clips,
    statistics,
    summary,
    teacher_accuracy,
)
from cache_schema.integrity.verify import Damage, verify
from cache_schema.paths import PAGES, PICTURES, CacheArgument, OutputFile, OutputPath
from cache_schema.reader import open_cache
from cache_schema.report.extra import require_report
from cache_schema.signal_names import command_of
from cache_schema.store.address import WEB, Address, CachePath
from cache_schema.terminal import Terminal, echo, wide_terminal
from cache_schema.text import json_text, lines, one_line
from cache_schema.writer import restore_or_delete


@click.command("inspect-cache", cls=Command)
@click.argument("cache", type=CacheArgument())
@click.option("--verify", "verify_all", is_flag=True, help="Check every stored object's digest.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print everything as one JSON document; with --clips one for each clip, a line each.",
)
@click.option("--clips", "list_clips", is_flag=True, help="List the clips: id, split and labels.")
@click.option("--split", metavar="NAME", help="With --clips: of this split alone.")
@click.option(
    "--clip", "clip_id", metavar="ID", shell_complete=complete_clip_ids, help="Show one clip."
)
@click.option(
    "--plot",
    type=OutputFile(PICTURES),
    metavar="FILE.png",
    help="Draw one clip (the first, or --clip): log-mel and what the teacher attends to.",
)
@click.option(
    "--report",
    "page",
    type=OutputFile(PAGES),
    metavar="FILE.html",
    help="Page of the finished cache: classes, teachers, and clips to look at and listen to.",
)
@click.option(
    "--png",
    type=OutputPath(file_okay=False),
    metavar="FOLDER",
    help="With --report: write each of its charts and clips as a picture too.",
)
def main(
    cache: CachePath,
    verify_all: bool,
    as_json: bool,
    list_clips: bool,
    split: str | None,
    clip_id: str | None,
    plot: Path | None,
    page: Path | None,
    png: Path | None,
) -> None:
    """Show what is in CACHE, finished or not; exit code 3 when it is damaged."""
    if list_clips:
        _check_alone(verify_all, clip_id, plot, page, png)
        _print_clips(listed_clips(cache, split), as_json)
        return
    if split is not None:
        raise UsageError("--split belongs to --clips", kind="options")
    _check_page(page, png)
    console = wide_terminal(soft_wrap=True)
    damage = verify(cache) if verify_all else []
    if damage:
        _print_damage(cache, damage, as_json)
    report = summary(cache)
    if verify_all:
        report["damage"] = []
    if report["finished"]:
        _add_scores(report, cache)
    if clip_id is not None or plot is not None:
        _add_clip(report, cache, clip_id, plot)
    if page is not None:
        _write_page(cache, report, page, clip_id, png)
    if as_json:
        echo(json_text(report, indent=1))
    else:
        _print(
            console,
            cache,
            lines({k: v for k, v in report.items() if k != "clip"}),
            report.get("clip"),
        )


def _check_page(page: Path | None, png: Path | None) -> None:
    """Reject a page or pictures that could not be made."""
    if page is not None:
        require_report("--report")
    elif png is not None:
        raise UsageError("--png belongs to --report FILE.html", kind="options")
    if png is not None and page is not None:
        from cache_schema.report.pictures import check_pictures

        check_pictures(png, "inspect-cache", page)


def _add_scores(report: dict[str, Any], cache: CachePath) -> None:
    """Add the statistics of a finished cache and its teachers' scores."""
    opened = open_cache(cache)
    report["statistics"] = statistics(opened)
    for name in opened.teachers:
        report["teachers"][name]["score"] = teacher_accuracy(opened, name)
    report["teacher_score"] = report["teachers"].get("", {}).get("score", {})


def _add_clip(
    report: dict[str, Any], cache: CachePath, clip_id: str | None, plot: Path | None
) -> None:
    """Add the facts of a clip that is named, and draw it or the first."""
    opened = open_cache(cache)
    facts = clip_facts(opened, find_clip(cache, clip_id) if clip_id is not None else 0)
    if plot is not None:
        from cache_schema.inspection.plot import plot_clip

        plot_clip(opened, facts, plot)
        report["plot"] = str(plot)
    if clip_id is not None:
        described = {name: _describe(value) for name, value in facts["signals"].items()}
        report["clip"] = facts | {"signals": described}


def _check_alone(*others: object) -> None:
    """Reject what a list of clips has no place for."""
    if any(other is not None and other is not False for other in others):
        raise UsageError("--clips goes with --split and --json alone", kind="options")


def _print_clips(clips: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Print a line for each clip, tab-separated or as JSON."""
    for clip in clips:
        echo(json_text(clip) if as_json else "\t".join(map(one_line, _clip_columns(clip))))


def _clip_columns(clip: dict[str, Any]) -> tuple[str, str, str]:
    nothing = "none of the classes" if clip["labelled"] else "unlabelled"
    return clip["id"], clip["split"], ";".join(clip["labels"]) or nothing


def _write_page(
    cache: CachePath, report: dict[str, Any], page: Path, clip_id: str | None, png: Path | None
) -> None:
    """Write the page and pictures; an unfinished cache is rejected as by whoever opens it."""
    from cache_schema.report.cache_page import write_cache_page

    words = ["inspect-cache", str(cache), "--report", str(page)]
    words += [] if png is None else ["--png", str(png)]
    clip = None if clip_id is None else find_clip(cache, clip_id)
    command = shlex.join(words if clip_id is None else [*words, "--clip", clip_id])
    drawn = write_cache_page(open_cache(cache), report, page, command=command, clip=clip, png=png)
    report["report"] = str(page)
    if png is not None:
        report["pictures"] = f"{drawn} in {png}"


def _print_damage(cache: CachePath, damage: Sequence[Damage], as_json: bool) -> NoReturn:
    """List the damage and stop: what is damaged cannot be summed up."""
    if as_json:
        echo(json_text({"damage": list(map(str, damage))}, indent=1))
    else:
        for found in damage:
            echo(f"damaged {one_line(found)}")
    way = "Repair it: repeat the precompute-teacher command with --repair"
    if all(found.stray for found in damage):
        way = "Delete what is no part of it; the rest is as it was written"
    if isinstance(cache, Address) and cache.scheme in WEB:
        way = (
            "A web server is only read: repair the cache that it was copied from, and copy it again"
        )
    if lost := [found.object for found in damage if found.lost]:
        way = f"First {', '.join(map(one_line, lost))}: {restore_or_delete(cache)}"
    raise CacheError(f"{cache} is damaged: {len(damage)} object(s). {way}", kind="damaged")


def _describe(value: Any) -> dict[str, Any]:
    array = np.asarray(value)
    described: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.size and array.size <= 64:
        described["values"] = [round(float(v), 5) for v in array.reshape(-1)]
    return described


def _print(
    console: Terminal, cache: CachePath, report: dict[str, Any], clip: dict[str, Any] | None
) -> None:
    state = "finished" if report["finished"] else "unfinished"
    splits = ", ".join(f"{name} {count}" for name, count in report["splits"].items())
    console.print(f"{cache}  {state}, format {report['format_version']}", style="bold")
    console.print(f"clips     {report['clips']} ({splits}); views {report['views']}")
    console.print(
        f"classes   {len(report['classes'])} ({report['task']}): {_few(report['classes'])}"
    )
    console.print(f"audio     {report['sample_rate_hz']} Hz")
    for step in report["parts"][0]["view_recipe"]:  # that of all parts, or they would be rejected
        for line in _step_lines(step):
            console.print(line)
    for name, teacher in report["teachers"].items():
        _print_teacher(console, name, teacher)
    for part in report["parts"]:
        _print_part(console, part, report.get("statistics", {}))
    if "damage" in report:
        console.print("verified: every stored object has its recorded digest", style="green")
    if clip is not None:
        echo(json_text(clip, indent=2))
    if "plot" in report:
        console.print(f"drawn: {report['plot']}")
    if "report" in report:
        console.print(f"report: {report['report']}")
    if "pictures" in report:
        console.print(f"pictures: {report['pictures']}")


def _print_teacher(console: Terminal, name: str, teacher: dict[str, Any]) -> None:
    facts = teacher["provenance"]
    head = f"teacher {name}".ljust(9)
    console.print(f"{head} {facts.get('id')} ({facts.get('family')}), {_options(facts)}")
    console.print(f"          gives {', '.join(teacher['signals'])}")
    for split, score in teacher.get("score", {}).items():
        console.print(f"          accuracy on {split}, from the cached logits: {score:.1%}")
    if teacher["views_missing"]:
        console.print(
            f"          has not processed view(s) {_few(teacher['views_missing'])}: repeat "
            f"{command_of(name)}"
        )


def _print_part(console: Terminal, part: dict[str, Any], statistics: dict[str, Any]) -> None:
    first, last = part["views"]
    done, units = part["units_done"], part["units"]
    console.print(
        f"{part['name']}  views {first}..{last - 1}, {part['rows']} rows, {done} of "
        f"{units} work units done, {part['quarantined']} rows quarantined"
    )
    if part["units_missing"]:
        console.print(f"  missing work units: {_few(part['units_missing'])}")
    table = Table("signal", "row", "stored", "padding", "hop", "min", "mean", "max", box=None)
    table.columns[0].no_wrap = True
    for signal in part["signals"]:
        stats = statistics.get(signal["name"], {})
        numbers = [f"{stats[key]:.4g}" if key in stats else "" for key in ("min", "mean", "max")]
        hop = f"{1000 * signal['hop_s']:.4g} ms" if signal["hop_s"] else ""
        row = _row_text(signal)
        padded, held = signal["entries_padded"], signal["entries_held"]
        padding = f"{padded / (padded + held):.1%}" if padded + held else ""
        table.add_row(
            signal["name"], row, human_bytes(signal["stored_bytes"]), padding, hop, *numbers
        )
    console.print(table)
    for entry in part["quarantine"][:10]:
        console.print(f"  quarantined {entry['clip']}: {entry['reason']}")
    if part["quarantined"] > 10:
        console.print(f"  and {part['quarantined'] - 10} more; all of them: --json")


def _step_lines(step: dict[str, Any] | str) -> list[str]:
    """Describe a step of a view recipe: as it is requested, what it draws, what it loaded."""
    if isinstance(step, str):
        return [f"view step {step}"]
    options = ",".join(f"{name}={value}" for name, value in step["options"].items())
    head = f"view step {step['step']}{':' if options else ''}{options}"
    lines = [head + (f", draws {', '.join(step['draws'])}" if step["draws"] else "")]
    for name, fact in step.items():
        if name not in ("step", "options", "draws"):
            parts = fact if isinstance(fact, dict) else {"": fact}
            described = [f"{part} {_few_of(value)}".strip() for part, value in parts.items()]
            lines.append(f"          {name} {'; '.join(described)}")
    return lines


def _few_of(value: Any) -> str:
    return f"{len(value)}: {_few(value)}" if isinstance(value, list) else str(value)


def _row_text(signal: dict[str, Any]) -> str:
    shape = " x ".join(str(n) for n in signal["row_shape"])
    if signal["layout"] == "fixed":
        return f"{shape or 'scalar'} {signal['dtype']}"
    entries = signal["entries"]
    span = "0"
    if entries:
        low, high = entries["shortest"], entries["longest"]
        if signal["layout"] == "square":
            low, high = round(low**0.5), round(high**0.5)
        span = f"{low}" if low == high else f"{low}..{high}"
    tail = f" x {span}" if signal["layout"] == "square" else f" x {shape}" if shape else ""
    return f"{span}{tail} {signal['dtype']}"


def _few(values: list[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:12])
    return f"{shown}, and {len(values) - 12} more" if len(values) > 12 else shown


def _options(teacher: dict[str, Any]) -> str:
    facts = {"pooling": teacher.get("pooling"), **teacher.get("options", {})}
    shown = [f"{name} {value}" for name, value in facts.items() if value is not None]
    return ", ".join([f"{len(teacher.get('classes', []))} classes", *shown])


if __name__ == "__main__":
    sys.exit(main())
