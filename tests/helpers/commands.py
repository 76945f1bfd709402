"""Run the real commands as a user does, and make a small corpus of tones to run them on."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import command_server
import numpy as np
import soundfile

RATE_HZ = 16_000
# Not sys.executable, which is `forking_python` in some commands.
PYTHON = str(Path(sysconfig.get_path("scripts"), "python3"))
CLASSES = {"low": 300.0, "middle": 900.0, "high": 2700.0}


def command(
    name: str, *arguments: object, program: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a console script of this environment, or a program in its place, to its end.

    It is a fork of a process that has the large libraries in memory; what a library looks at when it is
    imported needs `fresh_command`.
    """
    with Started(name, *arguments, program=program, **environment) as process:
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.wait(), output, errors)


def fresh_command(
    name: str, *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a console script as a user's shell does, in an interpreter of its own."""
    return subprocess.run(
        [script(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=plain_environment() | environment,
    )


class Started:
    """A console script under way, as a fork; of `subprocess.Popen` what tests need.

    Parameters
    ----------
    name : str
        The script.
    *arguments
        Its arguments.
    program : str
        Python source that runs in its place.
    **environment
        Changes of the environment.
    """

    stdout: IO[str]
    stderr: IO[str]

    def __init__(
        self, name: str, *arguments: object, program: str = "", **environment: str
    ) -> None:
        first = ["-c", program] if program else [script(name)]
        self.args = [*first, *map(str, arguments)]
        self.returncode: int | None = None
        request: command_server.Request = {
            "words": self.args,
            "name": name,
            "folder": os.getcwd(),
            "environment": plain_environment() | environment,
            "python": forking_python() if name in ("benchmarks", "compare-students") else PYTHON,
            "asks": os.getpid(),
        }
        pipes = [os.pipe() for _ in range(3)]
        output, errors, reported = (write_end for _, write_end in pipes)
        with open(os.devnull, "rb") as nothing:
            command_server.send(_address(), request, (nothing.fileno(), output, errors), reported)
        for _, write_end in pipes:
            os.close(write_end)
        (output, _), (errors, _), (reported, _) = pipes
        self.stdout = os.fdopen(output, encoding="utf-8")
        self.stderr = os.fdopen(errors, encoding="utf-8")
        self._told = os.fdopen(
            reported, "rb", buffering=0
        )  # the next line is left for `poll` to see
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """Exit code, if it has ended."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Exit code, once it has ended."""
        if self.returncode is None:
            self.returncode = int(self._told.readline())
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """All that it writes until its end."""
        with ThreadPoolExecutor(1) as pool:
            errors = pool.submit(self.stderr.read)
            try:
                output = self.stdout.read()
                self.wait()
            except BaseException:  # too late, or Ctrl-C: the thread waits for its end
                self.kill()
                raise
            reported = output, errors.result()
        self._close()
        return reported

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is not None:  # too late, or Ctrl-C: the command must not live on
            self.kill()
        self.wait()
        self._close()

    def _close(self) -> None:
        for file in (self.stdout, self.stderr, self._told):
            file.close()


def _address() -> str:
    """Address of the process of which commands are forks."""
    return os.environ.get(command_server.ADDRESS) or command_server.start()


def forking_python() -> str:
    """An interpreter for `sys.executable` whose modules (``-P -m``) and large commands are forks."""
    return str(Path(_address()).with_name(command_server.INTERPRETER))


def script(name: str) -> str:
    """Path of a console script beside the running Python."""
    return str(Path(PYTHON).with_name(name))


def forked_script(name: str) -> list[str]:
    """Words that run a console script from a shell, as a fork where it imports large libraries."""
    first = [forking_python()] if name in command_server.LIBRARIES else []
    return [*first, script(name)]


def plain_environment() -> dict[str, str]:
    """The environment of a log, not of a terminal."""
    return os.environ | {"COLUMNS": "160", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def succeeded(run: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that must have succeeded."""
    assert run.returncode == 0, f"{run.args}\n{run.stdout}\n{run.stderr}"
    assert "Traceback" not in run.stderr, run.stderr
    return run.stdout


def tone(name: str, seconds: float, seed: int) -> np.ndarray:
    """A tone of a class, somewhere in noise."""
    generator = np.random.default_rng(seed)
    samples = int(seconds * RATE_HZ)
    wave = 0.05 * generator.standard_normal(samples)
    start = int(generator.integers(0, samples // 2))
    length = min(samples - start, RATE_HZ // 4)
    phase = 2 * np.pi * CLASSES[name] * np.arange(length) / RATE_HZ
    wave[start : start + length] += 0.5 * np.sin(phase + generator.uniform(0, 6))
    return wave.astype(np.float32)


def write_tones(root: Path, per_class: int = 10, *, ragged: bool = True) -> Path:
    """A corpus ROOT/SPLIT/CLASS/*.flac; lengths from 0.5 s to 1.4 s, or 1 s."""
    seed = 0
    for split, count in {"train": per_class, "validation": 3, "test": 3}.items():
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed += 1
                seconds = 0.5 + 0.1 * (seed % 10) if ragged else 1.0
                soundfile.write(folder / f"{i}.flac", tone(name, seconds, seed), RATE_HZ)
    return root


def cache_tones(folder: Path) -> Path:
    """A cache of 30 clips of tones to train on, in units of six, with two views."""
    corpus, out = write_tones(folder / "corpus"), folder / "tones.zarr"
    options = ["--teacher", "toy", "--unit-rows", "6", "--views", "2", "--view", "gain"]
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--out", out, *options))
    return out
