"""A disk of some bytes, or one that cannot be written, as only the command under test sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from commands import command, forked_script, plain_environment, script

# $1 a folder to mount on, $2 its size, $3 where copies go; then the command, which must fail first.
FULL = """
disk=$1 size=$2 copies=$3; shift 3
mount -t tmpfs -o size="$size" none "$disk"
"$@" >/dev/null 2>"$copies/errors" && exit 90
cp -a "$disk" "$copies/left"
mount -o remount,size=1g none "$disk"
"$@" >/dev/null 2>"$copies/errors2"
cp -a "$disk" "$copies/end"
"""
READ_ONLY = """
disk=$1; shift
mount --bind "$disk" "$disk"
mount -o remount,ro,bind "$disk"
"$@"
"""


def in_namespace(commands: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount what nobody else sees."""
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-euc", commands, "sh", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=plain_environment(),
    )


def skip_without_mounts(scratch: Path) -> None:
    """Skip where users may not mount: in most containers, on other systems than Linux."""
    try:
        tried = in_namespace("mount -t tmpfs none $1", scratch)
    except FileNotFoundError:
        pytest.skip("needs unshare (Linux) for a disk of its own")
    if tried.returncode != 0:
        pytest.skip(f"may not mount a disk of its own: {tried.stderr.strip()}")


def fail_on_a_full_disk(folder: Path, size_bytes: int, name: str, *words: object) -> str:
    """Run a command that fails on a disk of this size, then again on a large one.

    ``DISK`` in a word stands for the disk. What was there after the failure and at the end is copied
    to `folder`/left and /end. Returns the message of the failure.
    """
    disk = folder / "disk"
    disk.mkdir(parents=True)
    placed = [str(word).replace("DISK", str(disk)) for word in words]
    run = in_namespace(FULL, disk, size_bytes, folder, *forked_script(name), *placed)
    output = "".join(
        (folder / f).read_text() for f in ("errors", "errors2") if (folder / f).exists()
    )
    assert run.returncode == 0, (run.returncode, run.stderr, output)
    return (folder / "errors").read_text()


def run_with_file_limit(
    limit_bytes: int, name: str, *words: object
) -> subprocess.CompletedProcess[str]:
    """Run a command none of whose files may become larger than this."""
    program = (
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))\n"
        f"sys.argv[0] = {script(name)!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    return command(name, *words, program=program)
