"""Hugging Face data sets as they lie on disk: Parquet shards, or what ``save_to_disk`` wrote.

Parquet shards follow the hub's layout, ``data/SPLIT-00000-of-0000N.parquet`` or ``SPLIT/0000.parquet``;
``save_to_disk`` writes ``SPLIT/data-00000-of-0000N.arrow`` with ``state.json`` beside it. Audio is the
bytes in its column, decoded like any file; a row that holds only a path is quarantined. The id of a clip
is its split, as the data set calls it, and its row there: ``train/421``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.git_lfs import POINTER, is_pointer
from pipeline.audio.members import MemberProblem, container_errors
from pipeline.corpora.interface import (
    DEFAULT_SHARE,
    MAX_NAME_BYTES,
    NO_LABEL,
    SPLIT_NAMES,
    Corpus,
    Entry,
    build_corpus,
)
from pipeline.corpora.list_syntax import json_value
from pipeline.corpora.listings import joined_labels, nearest_hint, read_list
from pipeline.corpora.splits import guess_split, parse_split_options, unused_notes, with_shares
from pipeline.corpora.walk import escapes_root, link_explanation, list_folder

USUAL_LABELS = ("label", "labels")
_SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-(?P<shards>\d{5})(-[0-9a-f]+)?")
_LISTS = ("Sequence", "List", "LargeList")


@dataclass(slots=True)
class _Table:
    """What all shards have in common: columns, and names of the classes where they are recorded."""

    audio: str
    label: str
    names: list[str] | None


def read_hugging_face(
    path: Path,
    *,
    audio: str = "",
    label: str = "",
    label_sep: str = "",
    train: str = "",
    validation: str = "",
    test: str = "",
    validation_share: float = DEFAULT_SHARE,
    test_share: float = DEFAULT_SHARE,
) -> Corpus:
    """Read a data set of the `datasets` library from its files.

    Parameters
    ----------
    path : Path
        Folder of the shards (of one configuration), or one shard.
    audio : str
        Column with the audio; by default the only one there is.
    label : str
        Column of classes: the only ``ClassLabel``, else ``label`` or ``labels``; or ``none``.
    label_sep : str
        What separates the labels of a clip in a text; by default nothing does.
    train, validation, test : str
        Its splits that serve as these, joined by ``;``; by default a word of their name decides.
    validation_share, test_share : float
        Shares of the training clips for these splits where the data set has none.

    Raises
    ------
    UsageError
        Listing everything wrong, as `pipeline.corpora.interface.build_corpus` does.
    """
    source = f"hugging-face:{path}"
    folder = path if path.is_dir() else path.parent
    problems: list[str] = []
    shards = _shards(path, source, problems)
    requested = {"train": train, "validation": validation, "test": test}
    serves = _serving(list(shards), parse_split_options(requested, problems), problems)
    reading = _Reading(folder, audio, label, label_sep, problems)
    entries = [e for split in serves for e in reading.entries(split, serves, shards)]
    shared, notes = with_shares(entries, validation_share, test_share)
    names = reading.table.names if reading.table else None
    joined = [] if names else joined_labels((e.clip.labels for e in shared), label_sep)
    return build_corpus(
        folder,
        shared,
        source=source,
        classes=names,
        task="multi" if reading.lists or label_sep else "single",
        problems=problems,
        notes=unused_notes("split", [name for name in shards if name not in serves])
        + notes
        + joined,
    )


class _Reading:
    """Goes through the shards; what is wrong with them is added to `problems`."""

    def __init__(
        self, folder: Path, audio: str, label: str, label_sep: str, problems: list[str]
    ) -> None:
        self._folder, self._root = folder, folder.resolve()
        self._audio, self._label, self._problems = audio, label, problems
        self._label_sep = label_sep
        self.table: _Table | None = None
        self.lists = False

    def entries(
        self, split: str, serves: dict[str, str], shards: dict[str, list[str]]
    ) -> Iterator[Entry]:
        """Yield the clips of a split."""
        number = 0
        for file in shards.get(split, []):
            for row, value in enumerate(self._values(file)):
                clip = Clip(
                    id=f"{split}/{number}",
                    path=f"{file}!/{self.table.audio if self.table else ''}/{row}",
                    labels=self._names(value, f"{file} row {row}"),
                    split=serves[split],
                    none_present=value == [],
                )
                yield Entry(clip, f"{file} row {row}")
                number += 1

    def _values(self, file: str) -> list[Any]:
        """The labels of all rows of a shard, as they are stored; none if it cannot be read."""
        if escapes_root(self._root, file):
            self._problems.append(
                f"{file} leads out of the folder: it {link_explanation(self._folder, file)}"
            )
            return []
        from pipeline.audio.arrow import ArrowShard, ParquetShard

        kind = ParquetShard if file.endswith(".parquet") else ArrowShard
        try:
            with container_errors(self._folder / file):
                shard = kind(self._folder / file)
                table = self._described(shard)
                values = (
                    [None] * shard.rows if table.label == NO_LABEL else shard.column(table.label)
                )
        except MemberProblem as problem:
            pointer = POINTER if is_pointer(self._folder / file) else ""
            self._problems.append(f"{file}: {pointer or problem}")
            return []
        except UsageError as error:
            self._problems.append(f"{file}: {error}")
            return []
        if self.table is None:
            self.table = table
        elif table != self.table:
            self._problems.append(f"{file}: other columns or classes than in the first shard")
            return []
        self.lists = self.lists or any(isinstance(value, list) for value in values)
        if table.names is None and _multi_hot(values):
            self._problems.append(
                f"{file}: {table.label} has a 0 or 1 for each class, expected lists of classes"
            )
            return []
        return values

    def _described(self, shard: Any) -> _Table:
        """Find the columns of a shard."""
        columns, features = list(shard.schema.names), shard.features()
        known = [name for name in shard.audio_columns() if _type(features.get(name)) == "Audio"]
        audio = self._audio or _only(known or shard.audio_columns(), "audio", columns)
        if audio not in shard.audio_columns():
            raise _wrong_column("audio", audio, "of audio bytes", columns, shard.audio_columns())
        classes = [name for name in columns if _class_names(features.get(name)) is not None]
        usual = [name for name in USUAL_LABELS if name in columns]
        label = self._label or _only(classes or usual, "label", columns)
        if label not in (NO_LABEL, *columns):
            raise _wrong_column("label", label, "of that name", columns, columns)
        return _Table(audio, label, _class_names(features.get(label)))

    def _names(self, value: Any, place: str) -> tuple[str, ...]:
        """The labels of one row."""
        names = self.table.names if self.table else None
        labels: list[str] = []
        for one in value if isinstance(value, list) else [value]:
            if one in (None, "") or (names is not None and one == -1):  # how "unknown" is written
                continue
            if isinstance(one, str) and self._label_sep:
                labels += filter(None, map(str.strip, one.split(self._label_sep)))
            elif isinstance(one, str) or (names is None and type(one) is int):
                labels.append(str(one))
            elif names is not None and type(one) is int and 0 <= one < len(names):
                labels.append(names[one])
            else:
                self._problems.append(
                    f"{place}: label {one!r} is neither a name nor a class number"
                )
        return tuple(dict.fromkeys(labels))


def _multi_hot(values: Sequence[Any]) -> bool:
    """Return whether rows are lists of zeros and ones alike in length: no list names a class twice."""
    lists = [value for value in values if isinstance(value, list)]
    return (
        len({len(value) for value in lists}) == 1
        and all(type(one) is int and one in (0, 1) for value in lists for one in value)
        and any(len(set(value)) < len(value) for value in lists)
    )


def _shards(path: Path, source: str, problems: list[str]) -> dict[str, list[str]]:
    """Paths of the shards of each split, below the folder and in order."""
    if path.is_file():
        match = _SHARD.fullmatch(path.stem)
        return {match["split"] if match else path.stem: [path.name]}
    if (path / "dataset_dict.json").is_file():
        splits = _document(source, path, "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not all(map(_is_name, splits)):
            problems.append("dataset_dict.json lists no splits")
            return {}
        return {name: _saved(source, path, f"{name}/", problems)[1] for name in splits}
    if (path / "state.json").is_file():
        split, files = _saved(source, path, "", problems)
        return {split: files}
    return _parquet(path, source, problems)


def _saved(source: str, path: Path, below: str, problems: list[str]) -> tuple[str, list[str]]:
    """Name and shards of one data set that ``save_to_disk`` wrote."""
    name = f"{below}state.json"
    if escapes_root(path.resolve(), name) or not (path / name).is_file():
        problems.append(f"{name} is not there")
        return "", []
    state = _document(source, path, name)
    files = state.get("_data_files")
    if state.get("_indices_data_files"):
        problems.append(f"{name}: rows are chosen by an index; flatten_indices() writes them out")
    elif isinstance(files, list) and all(
        isinstance(file, dict) and _is_name(file.get("filename")) for file in files
    ):
        return str(state.get("_split") or "train"), [below + file["filename"] for file in files]
    else:
        problems.append(f"{name} lists no data files")
    return "", []


def _is_name(value: Any) -> bool:
    """Return whether something can be a file's name."""
    return isinstance(value, str) and value.isprintable() and len(value.encode()) <= MAX_NAME_BYTES


def _document(source: str, path: Path, name: str) -> dict[str, Any]:
    text = read_list(source, path, name)
    try:
        document = json_value(text)
    except ValueError as error:
        raise UsageError(f"corpus {source}: {name}: {error}", kind="corpus") from None
    if not isinstance(document, dict):
        raise UsageError(f"corpus {source}: {name} is not a JSON object", kind="corpus")
    return document


def _parquet(path: Path, source: str, problems: list[str]) -> dict[str, list[str]]:
    """Parquet shards by split, which their name gives, or their folder's where it is a number."""
    shards: dict[str, list[str]] = {}
    for name in map(PurePosixPath, list_folder(path).files):
        if name.suffix != ".parquet":
            continue
        match = _SHARD.fullmatch(name.stem)
        own = name.parent.name or (path.name if path.name.lower() in SPLIT_NAMES else "train")
        stem = own if name.stem.isdigit() else name.stem
        shards.setdefault(match["split"] if match else stem, []).append(str(name))
    if not shards:
        raise UsageError(
            f"corpus {source}: no shards; expected *.parquet, dataset_dict.json or state.json",
            kind="corpus",
        )
    for split, files in shards.items():
        folders = sorted({str(PurePosixPath(file).parent) for file in files})
        if len(folders) > 1:
            # The folder above where the folder's name is the split's, which would be lost below it.
            above = all(PurePosixPath(file).stem.isdigit() for file in files)
            wanted = {str(PurePosixPath(one).parent) if above else one for one in folders}
            problems.append(
                f"split {split} lies in {', '.join(folders)}; name one as the path: "
                f"{' or '.join(sorted(wanted))}"
            )
        match = _SHARD.fullmatch(PurePosixPath(files[0]).stem)
        if match and len(folders) == 1 and len(files) != int(match["shards"]):
            problems.append(
                f"split {split}: {len(files)} of {int(match['shards'])} shards are there"
            )
    return shards


def _serving(names: list[str], requested: dict[str, str], problems: list[str]) -> dict[str, str]:
    """Map each of the data set's splits to the split that it serves as."""
    problems += [
        f"no split {name!r} for {split}; splits: {', '.join(names)}"
        for name, split in requested.items()
        if name not in names
    ]
    alone = "train" if len(names) == 1 else None
    return requested or {name: guess_split(name) or alone or name for name in names}


def _only(found: list[str], option: str, columns: list[str]) -> str:
    if len(found) != 1:
        what = f"{len(found)} columns could be it ({', '.join(found)})" if found else "none is"
        raise UsageError(
            f"which column is the {option}? {what}; set {option}=COLUMN"
            + (f" or label={NO_LABEL}" if option == "label" else "")
            + f"; columns: {', '.join(columns)}",
            kind="columns",
        )
    return found[0]


def _wrong_column(
    option: str, name: str, what: str, columns: list[str], possible: list[str]
) -> UsageError:
    return UsageError(
        f"{option}={name}: no column {what}; columns: {', '.join(columns)}"
        f"{nearest_hint(name, possible)}",
        kind="columns",
    )


def _type(feature: Any) -> str | None:
    kind = feature.get("_type") if isinstance(feature, dict) else None
    return kind if isinstance(kind, str) else None


def _class_names(feature: Any) -> list[str] | None:
    """Names of a ``ClassLabel``, or of a list of them; None if it is no such thing."""
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    elif _type(feature) in _LISTS:
        feature = feature.get("feature")
    names = feature.get("names") if _type(feature) == "ClassLabel" else None
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return names
    return None
