"""kill -9 a run wherever it touches its cache; the repeated command must complete it to the same bytes.

As a script; at least KILLS kills, about the same number at each stage of each way to run::

    python tests/crash/aimed_kills.py KILLS WORK_FOLDER [SEED]

Meanwhile, and after each kill, a reader may see the right rows or be rejected, nothing else.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import soundfile  # noqa: F401 - what a run imports on its way is imported before the forks
import soxr  # noqa: F401
import torch  # noqa: F401
from commands import write_tones
from damage import flip
from fork_server import at_each_touch, ended, forked, kill_myself
from reader_process import digests_of_rows, refusal
from small_cache import tree_bytes

import pipeline.teachers.toy  # noqa: F401
from cache_schema.integrity.verify import verify
from pipeline.precompute.cli import main

# A process holds two units at a time: one runs the teacher, the other is read or written.
MAX_CONCURRENT_UNITS = 2
# The first that fits names the stage of a touched path.
STAGES = {
    r"^corpus": "computing",
    r"^c\.zarr\.lock": "locking",
    r"^c\.zarr\.draft": "planning",
    r"/part-\d+\.draft": "laying out a part",
    r"/index|manifest\.json|/unsealed$|/layout\.json": "sealing",
    r"/commits|/unsealed": "committing",
    r"/clips/|/zarr\.json": "restoring",
    r"": "writing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run the command: what it starts from and its options."""

    name: str
    options: Sequence[str]
    start: Path | None = None
    whole: dict[str, bytes] = field(default_factory=dict)
    touches: list[str] = field(default_factory=list)

    @property
    def refusals(self) -> set[str]:
        """Why a reader may be rejected on the way."""
        return {"damaged"} if self.name == "repair" else {"missing", "unfinished"}


class Ground:
    """A folder with a corpus and the cache that is made, killed and completed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.out, self.log = self.folder / "c.zarr", self.folder / "log"
        write_tones(self.folder / "corpus", per_class=3)

    def run(self, options: Sequence[str]) -> None:
        """Run the command in this process."""
        corpus = f"folder:{self.folder / 'corpus'}"
        main.main([corpus, "--out", str(self.out), "--unit-rows", "6", *options])

    def begin(self, start: Path | None) -> None:
        """Put what a run starts from in its place."""
        shutil.rmtree(self.out, ignore_errors=True)
        if start is not None:
            shutil.copytree(start, self.out)

    def completed(self, options: Sequence[str]) -> None:
        """Run the command to its end in a child."""
        code = ended(forked(lambda: self.run(options), self.log))
        assert code == 0, f"{options} ended with {code}; see {self.log}"

    def undisturbed(self, way: Way) -> Path:
        """Run once: the bytes that are wanted, the places that are touched, a copy of the cache."""
        touches = self.folder / "touches"
        touches.write_bytes(b"")
        self.begin(way.start)
        code = ended(forked(lambda: self._noted(way, touches), self.log))
        assert code == 0, f"{way.name} ended with {code}; see {self.log}"
        way.whole.update(tree_bytes(self.out))
        way.touches.extend(stage_of(line) for line in touches.read_text().splitlines())
        assert ended(forked(lambda: note_rows(self.out, self.rows(way)), self.log)) == 0
        return Path(shutil.copytree(self.out, self.folder / way.name))

    def rows(self, way: Way) -> Path:
        """Where the digests of the rows lie that a reader may see."""
        return self.folder / f"{way.name}.json"

    def _noted(self, way: Way, touches: Path) -> None:
        with touches.open("a") as file:
            at_each_touch(self.folder, "corpus", lambda path: print(path, file=file, flush=True))
            self.run(way.options)

    def killed(self, way: Way, touch: int) -> bool:
        """Run and kill at a touch while another process reads; False when the run ended first."""
        reading, running = os.pipe()
        reader = forked(lambda: self._watch(way, reading, running), self.log)
        os.close(reading)
        code = ended(forked(lambda: self._doomed(way, touch), self.log))
        os.close(running)
        assert ended(reader) == 0, f"{way.name}, touch {touch}: the reader; see {self.log}"
        assert code in (0, -9), f"{way.name} ended with {code}; see {self.log}"
        return code == -9

    def _doomed(self, way: Way, touch: int) -> None:
        left = iter(range(touch, -1, -1))
        at_each_touch(self.folder, "corpus", lambda _: None if next(left, 1) else kill_myself())
        self.run(way.options)

    def _watch(self, way: Way, reading: int, running: int) -> None:
        """Look again and again until the run is dead, and once more."""
        os.close(running)
        os.set_blocking(reading, False)
        dead = False
        while not dead:
            dead = _at_end(reading)
            refused = refusal(self.out, json.loads(self.rows(way).read_text()))
            assert refused is None or refused.kind in way.refusals, refused
            time.sleep(0.01)
        if way.name != "repair" and self.out.exists():
            assert verify(self.out) == []


def stage_of(path: str) -> str:
    """What a run does when it touches a path."""
    return next(stage for pattern, stage in STAGES.items() if re.search(pattern, path))


def _at_end(descriptor: int) -> bool:
    try:
        return os.read(descriptor, 1) == b""
    except BlockingIOError:
        return False


def note_rows(out: Path, place: Path) -> None:
    """Keep what a reader of the whole cache sees."""
    place.write_text(json.dumps(dict(digests_of_rows(out))))


def committed(out: Path) -> dict[Path, tuple[int, int]]:
    """Each commit record and chunk of committed units: its inode and time."""
    found = {}
    for record in out.glob("parts/*/commits/*.json"):
        chunks = record.parents[1].glob(f"*/c/{int(record.stem)}")
        for path in [record, *(p for chunk in chunks for p in [chunk, *chunk.rglob("*")])]:
            if path.is_file():
                found[path] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def begun(out: Path) -> int:
    """Units that have a chunk and no record."""
    chunks = {
        (p.parents[2], int(p.name)) for p in out.glob("parts/part-???/*/c/*") if p.name.isdigit()
    }
    chunks = {(part, unit) for part, unit in chunks if (part / "commits").is_dir()}
    return sum(not (part / "commits" / f"{unit:06d}.json").exists() for part, unit in chunks)


def ways(ground: Ground) -> list[Way]:
    """The ways to run, each from where another ended, each run once undisturbed."""
    toy = ["--teacher", "toy", "--view", "gain"]
    more = [*toy, "--views", "2", "--signal", "layer_attention"]
    second = ["--teacher", "toy:classes=x;y", "--teacher-name", "b"]
    fresh = Way(name="a new cache", options=toy)
    begin = ground.undisturbed(fresh)
    parts = Way(name="adding parts", options=more, start=begin)
    grown = ground.undisturbed(parts)
    teacher = Way(name="adding a second teacher", options=second, start=grown)
    ground.undisturbed(teacher)
    damaged = Path(shutil.copytree(grown, ground.folder / "damaged"))
    flip(damaged / "parts/part-000/waveform/c/1")
    flip(damaged / "parts/part-000/index/row_lengths/c/0/0")
    (damaged / "parts/part-001/commits/000000.json").unlink()
    (damaged / "parts/part-001/zarr.json").unlink()
    repair = Way(name="repair", options=[*more, "--repair"], start=damaged)
    ground.undisturbed(repair)
    assert repair.whole == parts.whole
    return [fresh, parts, teacher, repair]


def one_case(ground: Ground, way: Way, touch: int, again: int) -> int:
    """Kill at a touch, perhaps again on the way on, then complete; returns how often it was killed."""
    ground.begin(way.start)
    kills = int(ground.killed(way, touch))
    done: dict[Path, tuple[int, int]] = {}
    for later in range(again + 1):
        if way.name != "repair":
            assert begun(ground.out) <= MAX_CONCURRENT_UNITS
            done = committed(ground.out)
        if later < again:
            kills += ground.killed(way, touch // 2)
            now = committed(ground.out)
            assert all(now[path] == state for path, state in done.items())
    ground.completed(way.options)
    found = tree_bytes(ground.out)
    different = [k for k in found.keys() | way.whole.keys() if found.get(k) != way.whole.get(k)]
    assert different == [], f"{way.name}, touch {touch}: {different}"
    now = committed(ground.out)
    assert all(now[path] == state for path, state in done.items()), "a committed unit was redone"
    left = {"c.zarr.lock", "c.zarr.draft.partial"} & {p.name for p in ground.folder.iterdir()}
    assert not left, left
    return kills


def aimed_kills(folder: Path, kills: int, seed: int) -> Counter[tuple[str, str]]:
    """Kill at random touches, each stage of each way in turn; returns the kills at each."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    ground = Ground(folder)
    places: dict[tuple[str, str], tuple[Way, list[int]]] = {}
    for way in ways(ground):
        for number, stage in enumerate(way.touches):
            places.setdefault((way.name, stage), (way, []))[1].append(number)
    count: Counter[tuple[str, str]] = Counter()
    while count.total() < kills:
        for place in generator.sample(list(places), len(places)):
            if count.total() < kills:
                way, touches = places[place]
                again = int(generator.random() < 0.25)
                count[place] += one_case(ground, way, generator.choice(touches), again)
    return count


if __name__ == "__main__":
    began_s = time.monotonic()
    counts = aimed_kills(Path(sys.argv[2]), int(sys.argv[1]), int((sys.argv[3:] or ["0"])[0]))
    for (way_name, stage_name), number_of_kills in counts.items():
        print(f"{way_name:24} {stage_name:20} {number_of_kills:5} kills")
    print(f"{counts.total()} kills in {time.monotonic() - began_s:.0f} s, bytes equal after each")
