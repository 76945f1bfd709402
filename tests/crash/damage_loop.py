"""Damage stored objects at random: each is found and named, and no wrong row is ever read.

As a script::

    python tests/crash/damage_loop.py CASES WORK_FOLDER [SEED]
"""

from __future__ import annotations

import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import small_cache
from click.testing import CliRunner
from commands import command
from damage import DAMAGES
from reader_process import digests_of_rows, refusal

from cache_schema.inspection.cli import main
from cache_schema.metadata import PartPlan
from cache_schema.writer import MANIFEST, UnitRow, add_part, seal, write_unit

SUBPROCESS_EVERY = 100
# The first that fits is the kind of an object; what is read of a finished cache is marked.
KINDS = {
    r"^manifest\.json$": "manifest",
    r"/plan\.json$": "plan",
    r"/commits/": "record",
    r"/unsealed/": "promise",
    r"/index/index\.json$": "index document",
    r"/index/.*/c/": "index array",
    r"/index/": "index metadata",
    r"^clips/.*/c/": "clip table",
    r"^clips/": "clip table metadata",
    r"^parts/.*/c/": "chunk",
    r"": "metadata",
}
READ = {"manifest", "plan", "index document", "clip table", "chunk"}
UNREAD = re.compile("/index/(object|record)_sha256/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A cache to damage, with what may be put in the place of its objects."""

    name: str
    root: Path
    content: dict[str, bytes]
    others: list[dict[str, bytes]]
    wanted: dict[str, str]
    finished: bool


def plans(codec: str, u8log: bool, seed: int) -> list[PartPlan]:
    """A first part, further signals, a further teacher."""
    first, second = small_cache.first_plan(), small_cache.second_plan()
    signals = [
        s.model_copy(update={"dtype": "uint8"}) if u8log and s.name == "temporal_attention" else s
        for s in first.signals
    ]
    named = small_cache.spec("logits@b", "fixed", [2], 3)
    third = second.model_copy(update={"name": "part-002", "signals": [named]})
    first = first.model_copy(update={"signals": signals})
    return [p.model_copy(update={"codec": codec, "seed": seed}) for p in (first, second, third)]


def rows(plan: PartPlan, unit: int, turned: bool) -> list[UnitRow]:
    """The rows of a unit; turned round they are other rows of equal shape."""
    plain = [s.model_copy(update={"name": s.name.partition("@")[0]}) for s in plan.signals]
    found = small_cache.rows(plan.model_copy(update={"signals": plain}), unit)
    names = {signal.name.partition("@")[0]: signal.name for signal in plan.signals}
    step = -1 if turned else 1
    return [
        replace(row, signals={names[n]: v[::step].copy() for n, v in row.signals.items()})
        for row in found
    ]


def build(
    root: Path, parts: Sequence[PartPlan], *, turned: bool = False, last: int = 5
) -> list[bytes]:
    """Write a cache, `last` units of the last part; returns the manifests it had on the way."""
    small_cache.lay_out(root, parts[0])
    manifests = []
    for number, plan in enumerate(parts):
        if number:
            add_part(root, plan)
        manifests.append((root / MANIFEST).read_bytes())
        units = last if number == len(parts) - 1 else 5
        for unit in range(units):
            write_unit(root, plan, unit, rows(plan, unit, turned))
        if units == 5:
            seal(root, plan)
            manifests.append((root / MANIFEST).read_bytes())
    return manifests[:-1]


def kinds_of_cache(folder: Path) -> list[Kind]:
    """A plain cache, one in zstd, one with u8log, one with an unfinished part, one just begun."""
    found = []
    for name, codec, u8log, count, last in [
        ("plain", "crc32c", False, 3, 5),
        ("zstd", "zstd", False, 3, 5),
        ("u8log", "crc32c", True, 3, 5),
        ("unfinished", "crc32c", False, 2, 3),
        ("begun", "zstd", True, 1, 4),
    ]:
        root = folder / name
        older = build(root, plans(codec, u8log, 7)[:count], last=last)
        changed, elsewhere = folder / f"{name} changed", folder / f"{name} elsewhere"
        build(changed, plans(codec, u8log, 7)[:count], turned=True, last=last)
        build(elsewhere, plans(codec, u8log, 8)[:count], turned=True, last=last)
        others = [{MANIFEST: manifest} for manifest in older]
        others += [small_cache.tree_bytes(changed), small_cache.tree_bytes(elsewhere)]
        whole = folder / f"{name} whole"
        build(whole, plans(codec, u8log, 7)[:count])
        wanted, content = dict(digests_of_rows(whole)), small_cache.tree_bytes(root)
        found.append(
            Kind(
                name=name,
                root=root,
                content=content,
                others=others,
                wanted=wanted,
                finished=last == 5,
            )
        )
    return found


def kind_of(key: str) -> str:
    """What sort of object a key names."""
    return next(kind for pattern, kind in KINDS.items() if re.search(pattern, key))


def harm(cache: Kind, generator: random.Random) -> tuple[str, str, dict[str, bytes | None]]:
    """Damage one or two objects; returns the kind of object, of damage, and what was there before."""
    by_kind: dict[str, list[str]] = {}
    for key in cache.content:
        by_kind.setdefault(kind_of(key), []).append(key)
    kind = generator.choice(sorted(by_kind))
    key = generator.choice(by_kind[kind])
    how = generator.choice([*DAMAGES, "swap", "replace"])
    put: dict[str, bytes] = {}
    if how == "swap":
        second = generator.choice(by_kind[kind])
        put = {key: cache.content[second], second: cache.content[key]}
    elif how == "replace":
        put = {key: generator.choice([o for o in cache.others if key in o])[key]}
    elif cache.content[key]:
        DAMAGES[how](cache.root / key, generator)
    for place, data in put.items():
        (cache.root / place).write_bytes(data)
    before = {k: cache.content[k] for k in put or {key: b""}}
    now = {k: (cache.root / k).read_bytes() if (cache.root / k).exists() else None for k in before}
    return kind, how, {k: data for k, data in before.items() if data != now[k]}


def one_case(cache: Kind, generator: random.Random, *, as_process: bool) -> tuple[str, str] | None:
    """Damage, look, mend; returns the kinds of object and damage, or None where nothing changed."""
    kind, how, changed = harm(cache, generator)
    # What has no record is not yet done: nothing is lost that the next run does not make.
    undone = kind == "record" and how == "delete" and not sealed(cache, next(iter(changed)))
    try:
        if changed and not undone:
            check(cache, kind, how, list(changed), as_process=as_process)
            return kind, how
        return None
    finally:
        for key, data in changed.items():
            (cache.root / key).write_bytes(data or b"")


def sealed(cache: Kind, key: str) -> bool:
    """Whether an object lies in a part that has its index."""
    return any(k.startswith(f"{'/'.join(key.split('/')[:2])}/index/") for k in cache.content)


def check(cache: Kind, kind: str, how: str, changed: list[str], *, as_process: bool) -> None:
    """The damage is found and named; what is read is right or rejected."""
    case = f"{cache.name}: {how} {' and '.join(changed)}"
    code, output = inspected(cache.root, as_process=as_process)
    refused = refusal(cache.root, cache.wanted)
    assert "Traceback" not in output, f"{case}\n{output}"
    if kind == "manifest" and code == 0:
        # An older one of an unfinished cache is what a kill leaves.
        assert how == "replace", case
        assert refused is not None, case
        assert refused.kind == "unfinished", case
        return
    assert code == 3, f"{case}: exit code {code}\n{output}"
    if kind == "manifest" and how == "replace":
        return  # An older one of a finished part: its rows are right, the later part is reported.
    for key in changed:
        check_named(case, key, output)
    read = kind in READ or (kind == "index array" and UNREAD.search(changed[0]) is None)
    assert refused is not None or not (read and cache.finished), f"{case} was read"


def check_named(case: str, key: str, output: str) -> None:
    """The output names the object; for a unit's data also the unit and its rows."""
    name = key.split("/", 2)[2] if "/unsealed/" in key else key
    lines = [line for line in output.splitlines() if name in line]
    assert lines, f"{case}\n{output}"
    if kind_of(key) in ("chunk", "record"):
        unit = int(re.findall(r"/(?:c|commits)/(\d+)", key)[-1])
        wanted = rf"damaged {re.escape(key)} \(work unit {unit}, view \d+, clips \d+ to \d+"
        assert any(re.search(wanted, line) for line in lines), f"{case}\n{output}"


def inspected(root: Path, *, as_process: bool) -> tuple[int, str]:
    """Exit code and output of ``inspect-cache --verify``."""
    if as_process:
        run = command("inspect-cache", root, "--verify")
        return run.returncode, run.stdout + run.stderr
    result = CliRunner().invoke(main, [str(root), "--verify"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def damage_loop(folder: Path, cases: int, seed: int) -> Counter[tuple[str, str]]:
    """Damage each kind of cache in turn; returns how often each kind of object was damaged how."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    caches = kinds_of_cache(folder)
    generator = random.Random(seed)
    for cache in caches:
        assert inspected(cache.root, as_process=False)[0] == 0
    counts: Counter[tuple[str, str]] = Counter()
    while counts.total() < cases:
        cache = caches[counts.total() % len(caches)]
        as_process = counts.total() % SUBPROCESS_EVERY == SUBPROCESS_EVERY - 1
        found = one_case(cache, generator, as_process=as_process)
        counts.update([found] if found else [])
    for cache in caches:
        assert small_cache.tree_bytes(cache.root) == cache.content
    return counts


if __name__ == "__main__":
    began_s = time.monotonic()
    done = damage_loop(Path(sys.argv[2]), int(sys.argv[1]), int((sys.argv[3:] or ["0"])[0]))
    for (kind_name, damage_name), number in sorted(done.items()):
        print(f"{kind_name:20} {damage_name:10} {number:5}")
    print(f"{done.total()} damages in {time.monotonic() - began_s:.0f} s: each found, none read")
