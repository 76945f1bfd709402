"""How a manifest whose columns have other names can be read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from cache_schema.cautions import few
from cache_schema.plugins import nearest_name
from cache_schema.text import shell_word
from pipeline.audio.decode import AUDIO_SUFFIXES
from pipeline.corpora.formats.manifest_columns import GROUP, LABEL_FIELDS, Listing
from pipeline.corpora.interface import NO_LABEL
from pipeline.corpora.walk import option_text

FIRST_LINE = (
    "; if the first line is no header, write one above it, divided as the rows are: path,label"
)
ONE_COLUMN = (
    f". It is one column, as blanks divide no cells: with ?label={NO_LABEL} its clips are unlabelled; "
    "their classes are a second one, behind a comma, label"
)
# What other lists call the fields, as `_plain` writes it, in the order in which they are proposed.
OTHER_NAMES = {
    "path": (
        "filepath", "file_path", "filename", "file_name", "file", "audio_filepath", "audio_path",
        "audio_file", "audio", "wav", "fname", "slice_file_name", "clip", "recording",
        "begin_file", "path",
    ),
    "label": (
        "class", "category", "class_name", "classname", "target", "tag", "tags", "primary_label",
        "sound", "word", "command", "y", "classid", "class_id", "species", "common_name",
        "scientific_name", "annotation", "event_label", "label", "labels",
    ),
    "split": ("subset", "partition", "set", "fold", "split"),
    "id": ("clip_id", "id"),
    "start_s": ("start", "onset", "start_time", "begin", "begin_time", "start_s", "offset"),
    "end_s": ("end", "offset", "stop", "end_time", "end_s"),
}  # fmt: skip
DURATIONS = ("duration", "duration_s", "dur", "length", "length_s")
# Columns that name what a clip was recorded of, at or in.
GROUP_NAMES = (
    "speaker", "speaker_id", "client_id", "session", "session_id", "site", "place", "location",
    "recorder", "subject", "patient", "group",
)  # fmt: skip


def next_step(listing: Listing, names: Sequence[str], word: str) -> str:
    """How a list with such columns can be read: the options that name them, or what to rename.

    Parameters
    ----------
    listing : Listing
        The list, with the options that were given.
    names : sequence of str
        Its columns.
    word : str
        What the format calls one.
    """
    return _renaming(listing, names, word) or _naming(listing, names, word)


def _renaming(listing: Listing, names: Sequence[str], word: str) -> str:
    """What to change where no further option helps; empty for others."""
    if listing.main is not None:
        return (
            f"The lists of one corpus have the same {word}s: give {listing.path.name} those of "
            f"{listing.main.name}"
        )
    if twice := listing.doubled(names):
        return f"Rename all but one {word} {twice[0]!r} in the header, and repeat the command"
    group = listing.columns.get(GROUP, "")
    if group not in ("", *names):
        alike = [name for name in names if name.lower() == group.lower()]
        others = alike or [name for name in names if listing.field_of(name) in (None, "speaker")]
        if not others:
            return f"No {word} is left to group by: leave group={group} out"
        return f"group=... names one of the {word}s that are there: {', '.join(others)}"
    if names and names[0].startswith("#"):
        return "The first line is the header, and # begins no comment: delete what stands above it"
    if any(name.lower().endswith(AUDIO_SUFFIXES) for name in names):
        header = "The first line seems to be a clip and no header; write one above it: path"
        return f"{header},label" if names[1:] else f"{header}{ONE_COLUMN}"
    if _are_times(names):
        return (
            "The first line is no header but a stretch, as Audacity exports labels: begin, end, label. "
            "They do not name their recording: write a list with the columns path, start_s, end_s and "
            "label, in which each row does"
        )
    return ""


def _are_times(names: Sequence[str]) -> bool:
    """Whether the first cells of a header are a begin and an end.

    >>> _are_times(["1.250000", "2.500000", "Robin"]), _are_times(["path", "label"])
    (True, False)
    """
    try:
        begin, end = (float(name.replace(",", ".")) for name in names[:2])
    except ValueError:
        return False
    return 0 <= begin <= end and not any(name.isdecimal() for name in names[:2])


def _naming(listing: Listing, names: Sequence[str], word: str) -> str:
    """The options that name columns of other names."""
    shared = listing.shared_columns(names)
    there = {
        known: column
        for known, column in listing.columns.items()
        if (column in names and column not in shared) or (known, column) == ("label", NO_LABEL)
    }
    if {*LABEL_FIELDS} <= {*names} and "label" not in there:
        there["label"] = "label"
    fields, unknown = replace(listing, columns=there).fields_of(names)
    have = {*fields.values(), *there}
    have |= {"label"} if "labels" in have else set()
    plain = {_plain(name): name for name in reversed(unknown)}
    proposed = _proposed(plain, have)
    lasts, known = _lasting(plain), {*have, *proposed}
    if lasts and "start_s" in known and "end_s" not in known:
        begins = proposed.get("start_s") or there.get("start_s", "start_s")
        return (
            f"Rows begin at {begins} and last {lasts}: add a {word} end_s, the sum of both, and repeat "
            "the command"
        )
    free = set(unknown) - set(proposed.values())
    proposed |= {
        known: nearest
        for known, column in listing.columns.items()
        if known not in there and (nearest := nearest_name(column, sorted(free)))
    }
    if not {"path", "label"} <= {*have, *proposed}:
        return (
            f"Name the {word}s of the path and of the class, as in ?path=filename&label=category, or "
            f"label={NO_LABEL} for unlabelled clips{FIRST_LINE if word == 'column' else ''}"
        )
    if not {"split", GROUP} & {*have, *proposed} and (group := group_column(names)):
        proposed[GROUP] = group
    options = [f"{known}={option_text(name)}" for known, name in {**there, **proposed}.items()]
    left_out = sorted(set(unknown) - set(proposed.values()), key=unknown.index)
    options += ["unknown=ignore"] if left_out else []
    query = f"?{'&'.join(options)}" if options else ""
    corpus = shell_word(f"{listing.kind}:{option_text(listing.path)}{query}")
    without = [f"{several[0]}={option_text(column)}" for column, several in shared.items()]
    way = f"Read it as {corpus}, with your other options" + (
        f" but {' and '.join(without)}" if without else ""
    )
    if len(left_out) > 1 and "start_s" not in {*have, *proposed}:
        way += (
            f"; that leaves {few(left_out)} out: if two of them say where clips begin and end in longer "
            "recordings, add &start_s=...&end_s=..."
        )
    if {"start_s", "end_s"} <= {*have, *proposed}:
        way += "; where rows are events in longer recordings, with &rows=event&window_s=5"
    if offset := plain.get("file_offset"):  # Raven's
        counts = there.get("start_s") or proposed.get("start_s", "start_s")
        way += (
            f". Of a sequence of files {counts} counts from the first: there begin at {offset}, and add "
            f"a {word} of ends"
        )
    return way


def _proposed(plain: Mapping[str, str], have: Collection[str]) -> dict[str, str]:
    """The columns that other lists fill the missing fields from."""
    proposed = {
        known: plain[other]
        for known, others in OTHER_NAMES.items()
        for other in reversed(others)
        if known not in have and other in plain
    }
    if "offset" in plain and proposed.get("start_s") == proposed.get("end_s"):
        del proposed["end_s"]  # it begins there, if it has a duration; else nobody knows
        if not _lasting(plain):
            del proposed["start_s"]
    return proposed


def _lasting(plain: Mapping[str, str]) -> str:
    """The column of how long something lasts; empty if there is none."""
    return next((plain[name] for name in DURATIONS if name in plain), "")


def _plain(name: str) -> str:
    """Write a column's name as other lists do, without the unit.

    >>> _plain("Begin Time (s)"), _plain("file-name")
    ('begin_time', 'file_name')
    """
    return re.sub(r"[\s-]+", "_", re.sub(r"\((s|sec|seconds)\)$", "", name.lower()).strip())


def group_column(names: Iterable[str]) -> str:
    """The first column that seems to name speakers, sessions or places; empty if none does."""
    return next((name for name in names if name.lower() in GROUP_NAMES), "")
