"""kill -9 a precompute-teacher at random moments; what it leaves must complete to the same bytes.

`aimed_kills` hits every stage; this one kills whole processes, with any teacher.

As a script, on any corpus and teacher::

    python tests/crash/kill_loop.py KILLS WORK_FOLDER CORPUS --teacher TEACHER [option ...]
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from commands import Started, command, succeeded
from small_cache import tree_bytes

from cache_schema.errors import AftersoundError
from cache_schema.integrity.verify import verify
from cache_schema.reader import open_cache


def kill_loop(corpus: str, options: list[str], folder: Path, kills: int) -> tuple[int, int]:
    """Kill runs at random moments until `kills` were; each finished cache must equal the first.

    Returns
    -------
    finished, units : int
        Caches that were completed on the way, and work units in each.
    """
    whole, out = folder / "whole", folder / "killed"
    started = time.monotonic()
    succeeded(command("precompute-teacher", corpus, "--out", whole, *options))
    duration_s = time.monotonic() - started
    wanted = tree_bytes(whole)
    generator = random.Random(kills)
    killed = finished = 0
    while killed < kills:
        with Started("precompute-teacher", corpus, "--out", out, *options) as process:
            until_s = time.monotonic() + generator.uniform(0.2, 0.95) * duration_s
            while process.poll() is None and time.monotonic() < until_s:
                time.sleep(0.005)
            process.kill()
        if process.returncode == -signal.SIGKILL:
            killed += 1
            look(out)
        else:
            finished += same_bytes(out, wanted)
    succeeded(command("precompute-teacher", corpus, "--out", out, *options))
    finished += same_bytes(out, wanted)
    assert [path.name for path in folder.iterdir()] == ["whole"]
    return finished, sum("/commits/" in key for key in wanted)


def same_bytes(out: Path, wanted: dict[str, bytes]) -> int:
    """Check a finished cache and clear it away for the next; counts as one."""
    found = tree_bytes(out)
    differing = [k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k)]
    assert differing == [], differing
    shutil.rmtree(out)
    return 1


def look(out: Path) -> None:
    """Whatever a kill leaves, a reader sees a whole cache or a clear refusal, never damage."""
    if not out.exists():
        return
    assert verify(out) == []
    refusal = None
    try:
        open_cache(out)
    except AftersoundError as error:
        refusal = error.kind
    assert refusal in (None, "unfinished")


if __name__ == "__main__":
    scratch = Path(sys.argv[2])
    scratch.mkdir(parents=True)
    caches, work_units = kill_loop(sys.argv[3], sys.argv[4:], scratch, int(sys.argv[1]))
    print(f"{sys.argv[1]} kills, {caches} caches of {work_units} work units completed, bytes equal")
