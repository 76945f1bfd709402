"""The data files of AST and PSLA: a JSON list of recordings for each split, and a list of classes.

A list is ``{"data": [{"wav": PATH, "labels": "/m/0dgw9r,/m/04rlf"}, ...]}``; other keys are not read.
The classes are a CSV file ``index,mid,display_name`` that gives their order and their names.

The paths in such lists are mostly absolute, of the machine that wrote them. Here the corpus is the
folder of the audio, and every path must lie below it: as it stands, or with ``prefix``, the folder
that the paths begin with, cut off. Relative paths that do not begin with it are below the folder as
they are. Clips are named by what remains, so that their ids do not depend on where the corpus lies.

Source: Gong, Chung and Glass, *AST*, arXiv:2104.01778, and *PSLA*, arXiv:2102.01243, whose recipes
read these files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cache_schema.clip import Clip
from cache_schema.errors import UsageError, bullet_list
from pipeline.corpora.formats.manifest import Task
from pipeline.corpora.interface import Corpus, Entry, build_corpus, check_folder, without_suffix
from pipeline.corpora.list_syntax import json_value
from pipeline.corpora.listings import check_lists, drop_missing, each_row, read_list
from pipeline.corpora.walk import option_text, printable

CLASS_COLUMNS = ("index", "mid", "display_name")


def read_ast_json(
    path: Path,
    *,
    train: str = "",
    validation: str = "",
    test: str = "",
    classes: str = "class_labels_indices.csv",
    prefix: str = "",
    task: Task = "auto",
) -> Corpus:
    """Read the lists of AST's and PSLA's recipes.

    Recordings that are listed but not there are left out and counted in the notes.

    Parameters
    ----------
    path : Path
        The folder of the audio and the lists.
    train, validation, test : str
        The list of each split, at least one, relative to the folder.
    classes : str
        The list of classes, likewise.
    prefix : str
        What all listed paths begin with and what stands for the folder.
    task : str
        ``"auto"`` is multi-label if any clip has several labels.

    Raises
    ------
    UsageError
        Listing everything wrong: see `pipeline.corpora.interface.build_corpus`.
    """
    check_folder(path, "ast-json")
    source = f"ast-json:{path}"
    splits = {"train": train, "validation": validation, "test": test}
    files = {split: name for split, name in splits.items() if name}
    if not files:
        raise UsageError(
            f"corpus {source}: no list; name one or more: "
            f"ast-json:{option_text(path)}?train=train.json&validation=valid.json&test=eval.json",
            kind="options",
        )
    check_lists(source, path, [classes, *files.values()])
    names = _class_names(source, path, classes)
    problems: list[str] = []
    entries = _entries(source, path, files, prefix, names, problems)
    there, notes = drop_missing(path, entries, problems)
    return build_corpus(
        path,
        there,
        source=source,
        classes=list(names.values()),
        task=task,
        problems=problems,
        notes=notes,
    )


def _entries(
    source: str,
    root: Path,
    files: Mapping[str, str],
    prefix: str,
    names: Mapping[str, str],
    problems: list[str],
) -> list[Entry]:
    """List the recordings of all splits; note those that are wrong."""
    folder = PurePosixPath(prefix or root.resolve())
    entries: list[Entry] = []
    outside = False
    for split, name in files.items():
        for number, item in enumerate(_items(source, root, name), start=1):
            entry = _entry(item, f"{name} recording {number}", split, folder, names)
            if isinstance(entry, Entry):
                entries.append(entry)
            else:
                problems.append(entry)
                outside |= entry.endswith(f"does not lie below {folder}")
    if outside and not prefix:
        problems.insert(
            0, "name with prefix=FOLDER which folder of the lists stands for the corpus"
        )
    return entries


def _entry(
    item: Any, place: str, split: str, folder: PurePosixPath, names: Mapping[str, str]
) -> Entry | str:
    """Make the entry of one recording, or note what is wrong with it."""
    wav, mids = (item.get(k) for k in ("wav", "labels")) if isinstance(item, dict) else (None, None)
    if not isinstance(wav, str) or not isinstance(mids, str):
        return f"{place}: expected texts wav and labels, got {_short(item)}"
    path = PurePosixPath(wav)
    if path.is_relative_to(folder):
        path = path.relative_to(folder)
    elif path.is_absolute():
        return f"{place}: {_short(wav)} does not lie below {folder}"
    if printable(wav) != wav:
        return f"{place}: {_short(wav)} is not UTF-8 text"
    known = list(dict.fromkeys(filter(None, (mid.strip() for mid in mids.split(",")))))
    if unknown := [mid for mid in known if mid not in names]:
        return f"{place}: not in the list of classes: {', '.join(map(_short, unknown))}"
    labels = tuple(names[mid] for mid in known)
    name = path.as_posix()
    return Entry(Clip(id=without_suffix(name), path=name, labels=labels, split=split), place)


def _items(source: str, root: Path, name: str) -> list[Any]:
    """Read the recordings of a list."""
    text = read_list(source, root, name)
    try:
        document = json_value(text)
    except ValueError as error:
        raise UsageError(f"corpus {source}: {name}: {error}", kind="corpus") from None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        raise UsageError(
            f'corpus {source}: {name}: expected {{"data": [...]}}, got {_short(document)}',
            kind="corpus",
        )
    return data


def _class_names(source: str, root: Path, name: str) -> dict[str, str]:
    """Read the name of each class by its identifier, in the order of the indices."""
    problems: list[str] = []
    rows = [row for _, row in each_row(source, root, name, CLASS_COLUMNS, problems)]
    if not problems and [row["index"] for row in rows] != [str(i) for i in range(len(rows))]:
        problems.append(f"the indices do not count from 0 to {len(rows) - 1} in order")
    for column in CLASS_COLUMNS[1:]:
        if len({row[column] for row in rows}) < len(rows):
            problems.append(f"the same {column} stands twice")
    if problems or not rows:
        details = bullet_list(problems or ["there is no class"])
        raise UsageError(f"corpus {source}: {name}\n{details}", kind="corpus")
    return {row["mid"]: row["display_name"] for row in rows}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
