"""kill -9 a precompute-teacher again and again; what it leaves must complete to the same bytes.

As a script, on any corpus and teacher::

    python tests/crash/kill_loop.py KILLS WORK_FOLDER CORPUS --teacher TEACHER [option ...]
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from commands import command, plain_environment, script, succeeded
from small_cache import tree_bytes

from cache_schema.errors import AftersoundError
from cache_schema.reader import open_cache
from cache_schema.verify import verify


def kill_loop(corpus: str, options: list[str], folder: Path, kills: int) -> tuple[int, int]:
    """Compare an undisturbed run with one killed at random moments.

    Returns
    -------
    interrupted, units : int
        Runs that were killed before they ended, and work units in the cache.
    """
    whole, out = folder / "whole", folder / "killed"
    started = time.monotonic()
    succeeded(command("precompute-teacher", corpus, "--out", whole, *options))
    duration_s = time.monotonic() - started
    generator = random.Random(kills)
    interrupted = 0
    for _ in range(kills):
        process = subprocess.Popen(
            [script("precompute-teacher"), corpus, "--out", str(out), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=plain_environment(),
        )
        try:
            process.wait(timeout=generator.uniform(0.2, 0.95) * duration_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            interrupted += 1
        look(out)
    succeeded(command("precompute-teacher", corpus, "--out", out, *options))
    before, after = tree_bytes(whole), tree_bytes(out)
    differing = [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)]
    assert differing == [], differing
    assert sorted(path.name for path in folder.iterdir()) == ["killed", "whole"]
    return interrupted, sum("/commits/" in key for key in after)


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
    killed, units = kill_loop(sys.argv[3], sys.argv[4:], scratch, int(sys.argv[1]))
    print(f"{killed} of {sys.argv[1]} runs killed; {units} work units, bytes equal")
