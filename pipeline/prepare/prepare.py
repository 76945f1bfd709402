"""Get a published corpus: fetch its archives or take those at hand, verify them, unpack them.

``OUT/archives/NAME`` holds the archives, ``OUT/NAME`` becomes the corpus once everything is there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cache_schema.errors import RunError, UsageError, bullet_list
from cache_schema.paths import absent
from cache_schema.plugins import unknown_name
from cache_schema.store.lock import write_lock
from cache_schema.text import shell_word
from pipeline.corpora.walk import option_text
from pipeline.prepare.archives import OFFICIAL_CORPORA, OfficialCorpus
from pipeline.prepare.download import Report, digest_problem, fetch, is_web_page
from pipeline.prepare.unpack import join_parts, unpack

PART_OF_SPLIT = re.compile(r"\.z\d\d")


def prepare(
    name: str,
    out: Path,
    source: Path | None = None,
    *,
    report: Report,
    corpora: Mapping[str, OfficialCorpus] = OFFICIAL_CORPORA,
) -> Path:
    """Get a corpus ready for precompute-teacher.

    Parameters
    ----------
    name : str
        One of `corpora`.
    out : Path
        Folder that the corpus becomes a folder of.
    source : Path, optional
        Folder with the archives, or the corpus unpacked, which is then used where it lies. Nothing is
        downloaded.
    report : callable
        Takes a line of progress.
    corpora : mapping of str to OfficialCorpus
        What can be got.

    Returns
    -------
    Path
        The corpus.

    Raises
    ------
    UsageError
        If `name` is not known, or `source` lacks archives.
    RunError
        If an archive cannot be fetched, is not the published one or cannot be unpacked.
    """
    if name not in corpora:
        raise unknown_name(name, corpora, "corpus")
    corpus = corpora[name]
    place = out / name
    unpacked = _unpacked_in(source, corpus) if source else None
    if unpacked:
        place = unpacked
        report(f"{place} is used where it lies; no checksums of unpacked recordings are published")
    else:
        _check_folder(place, link=True)
        with write_lock(place):
            if place.exists():
                _check_complete(place, corpus)
            else:
                _prepare_one(corpus, place, out / "archives" / name, source, report)
    report(f"{place} is ready")
    if corpus.remark:
        report(corpus.remark)
    report(
        f"Next: precompute-teacher {shell_word(f'{corpus.kind}:{option_text(place)}')} --teacher "
        f"TEACHER --out {name}.zarr"
    )
    return place


def _unpacked_in(source: Path, corpus: OfficialCorpus) -> Path | None:
    """Find the corpus unpacked, with or without the folder that its archive has."""
    places = (source, source / corpus.inside)
    return next((place for place in places if not _missing_files(place, corpus)), None)


def _missing_files(place: Path, corpus: OfficialCorpus) -> list[str]:
    first = {path: next(place.glob(path), None) for path in corpus.holds}
    return [
        path if found is None else f"{path} (a web page is in its place)"
        for path, found in first.items()
        if found is None or (found.is_file() and is_web_page(found))
    ]


def _check_folder(folder: Path, *, link: bool = False) -> None:
    """Reject a file or a link in the place of a folder; `link` lets one to a folder pass.

    Raises
    ------
    RunError
        With what it is.
    """
    is_link = folder.is_symlink()
    if (folder.is_dir() and (link or not is_link)) or not os.path.lexists(folder):
        return
    what = f"a link to {os.readlink(folder)}" if is_link else "no folder"
    raise RunError(
        f"{folder} is {what}, and the corpus needs a folder there. Move it away and repeat the "
        "command.",
        kind="corpus",
    )


def _check_complete(place: Path, corpus: OfficialCorpus) -> None:
    if lacking := _missing_files(place, corpus):
        raise RunError(
            f"{place} is there but is not the whole corpus: {', '.join(lacking)} not found. Move it "
            "away and repeat the command.",
            kind="corpus",
        )


def _prepare_one(
    corpus: OfficialCorpus, place: Path, archives: Path, source: Path | None, report: Report
) -> None:
    """Collect the archives, unpack them beside the corpus' place, and put it there in one step."""
    work = place.with_name(f"{place.name}.unpacking")
    for folder in (archives.parent, archives, work):
        _check_folder(folder)
    files = _local_archives(corpus, source, report) if source else []
    archives.mkdir(parents=True, exist_ok=True)
    files = files or [fetch(archive, archives, report) for archive in corpus.archives]
    shutil.rmtree(work, ignore_errors=True)  # of a killed run
    work.mkdir()
    try:
        for file in files:
            _unpack_one(file, files, archives, work, report)
        if lacking := _missing_files(work / corpus.inside, corpus):
            raise RunError(
                f"{place} was not made: the archives lack {', '.join(lacking)}. They are in "
                f"{files[0].parent}.",
                kind="corpus",
            )
        (work / corpus.inside).replace(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _local_archives(corpus: OfficialCorpus, source: Path, report: Report) -> list[Path]:
    """Take the archives of a folder, every one verified."""
    files = [source / archive.name for archive in corpus.archives]
    missing = [a for a, file in zip(corpus.archives, files, strict=True) if not file.is_file()]
    if missing:
        listed = [f"{absent(source, a.name)} ({a.url})" for a in missing]
        raise UsageError(
            f"{source} holds neither the corpus unpacked ({', '.join(corpus.holds)}) nor all of its "
            f"archives; {len(missing)} missing\n{bullet_list(listed)}\n"
            "Put them there, or leave out --from to have them downloaded.",
            kind="missing",
        )
    pairs = zip(corpus.archives, files, strict=True)
    problems = [digest_problem(archive, file, report) for archive, file in pairs]
    if found := [problem for problem in problems if problem]:
        raise RunError("\n".join(found) + f"\nReplace what is in {source}.", kind="digest")
    return files


def _unpack_one(
    file: Path, files: Sequence[Path], archives: Path, work: Path, report: Report
) -> None:
    """Unpack an archive; the parts of a split one count as one, which lies there until it is done."""
    if PART_OF_SPLIT.fullmatch(file.suffix):
        return
    report(f"unpacking {file.name}")
    if file.with_suffix(".z01") in files:
        whole = join_parts(file, archives)
        unpack(whole, work)
        whole.unlink()
    else:
        unpack(file, work)
