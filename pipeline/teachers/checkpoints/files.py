"""The few files of a checkpoint that are read, and the rule that none lies elsewhere.

Read are config.json, preprocessor_config.json, the safetensors weights and their index; everything
else in the folder is as if it were not there. A link may point to where it likes inside the folder.
The hub's own cache consists of links: there a folder ``models--*/snapshots/REVISION`` may also link
into ``models--*/blobs``, which is recognised by these three names on the folder's real path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from cache_schema.documents import plain_name
from cache_schema.errors import MAX_LISTED, RunError, UsageError, bullet_list
from cache_schema.paths import absent

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = 1 << 24


def check_links_stay_inside(folder: Path, files: Iterable[Path], text: str) -> None:
    """Reject files of a checkpoint that are links to a place outside it.

    Raises
    ------
    UsageError
        Naming each.
    """
    root = folder.resolve()
    places = [root]
    if root.parent.name == "snapshots" and root.parents[1].name.startswith("models--"):
        places.append(root.parents[1] / "blobs")
    out = [
        path.name
        for path in files
        if path.is_symlink() and not any(path.resolve().is_relative_to(p) for p in places)
    ]
    if out:
        raise UsageError(
            f"{text}: {', '.join(out)} would be read from outside the folder, by a link; delete that, "
            "and put the file itself there",
            kind="unsafe",
        )


def read_settings(folder: Path, name: str, text: str) -> dict[str, Any]:
    """Read a JSON file with one object.

    Raises
    ------
    RunError
        If it is no such file.
    """
    path = folder / name
    check_links_stay_inside(folder, [path], text)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, at most {MAX_JSON_BYTES} expected")
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        if not isinstance(found, dict):
            raise ValueError(f"expected an object in braces, found a {type(found).__name__}")
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{name} of {text} cannot be read ({error}); copy it again from where the checkpoint came "
            "from",
            kind="damaged",
        ) from None
    return found


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class _WeightsIndex(BaseModel):
    """Which file holds which tensor, as ``save_pretrained`` lists the parts of a large model."""

    model_config = ConfigDict(strict=True, extra="ignore")
    weight_map: dict[str, Annotated[str, AfterValidator(plain_name)]]


def weight_files(folder: Path, text: str) -> tuple[Path, ...]:
    """List the safetensors files of the model, sorted by name.

    Raises
    ------
    UsageError
        Kind ``"unsafe"`` if there are only pickled weights or a file lies outside the folder.
    RunError
        If the index is damaged or names files that are not there.
    """
    names = {WEIGHTS}
    if not (folder / WEIGHTS).is_file():
        if not (folder / WEIGHTS_INDEX).is_file():
            raise UsageError(
                f"{text} has no {absent(folder, WEIGHTS)}; pickled weights (.bin, .pt) can run code and "
                "are never loaded. Convert them in a place you trust: load the model with transformers, "
                "call save_pretrained(FOLDER), and name that folder",
                kind="unsafe",
            )
        names = _indexed_files(folder, text)
    files = tuple(folder / name for name in sorted(names))
    if missing := [absent(folder, path.name) for path in files if not path.is_file()]:
        raise RunError(
            f"{text} lacks {len(missing)} of the {len(files)} weight files that {WEIGHTS_INDEX} names: "
            f"{', '.join(missing[:3])}; copy them from where the checkpoint came from",
            kind="incomplete",
        )
    check_links_stay_inside(folder, files, text)
    return files


def _indexed_files(folder: Path, text: str) -> set[str]:
    try:
        index = _WeightsIndex.model_validate(read_settings(folder, WEIGHTS_INDEX, text))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']} (found {e['input']!r:.60})"
            for e in error.errors()
        ]
        raise UsageError(
            f"{WEIGHTS_INDEX} of {text} is not usable; {len(problems)} problem(s)\n"
            f"{bullet_list(problems, MAX_LISTED)}\nSave the model anew with save_pretrained",
            kind="unsafe",
        ) from None
    return set(index.weight_map.values())
