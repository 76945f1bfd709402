"""A process that has imported the large libraries and runs each console script in a fork of itself.

Importing torch, transformers and their like takes seconds, a command of a test a fraction of one. A fork
is a process of its own all the same: own memory, own id, own exit code. Of the project's own modules
those alone are imported here that every command imports, whatever its surroundings; the others a command
imports as it does for a user.

Run as ``command_server.py SOCKET [COMMAND ...]``, it is two processes, as a fork of a large one takes
longer: one for commands that import large libraries, which it imports at once for those that are
named, and one for all others. They live as long as their standard input is open: `start` runs them for
all processes that run tests. Each connection brings a `Request` as JSON and four descriptors: standard
input, output and error of the command, and a pipe to which its process id and, at its end, its exit code
are written, a line each.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypedDict

ADDRESS = "AFTERSOUND_TEST_COMMANDS"
"""Variable of the environment with the address of the server."""
LARGE = "-large"
"""What the address of the process for large commands ends in."""
INTERPRETER = "python"
"""Beside the socket: an interpreter whose modules (``-P -m``) and large commands are forks.

Beside it are large commands by their names, for the ``PATH`` of a shell.
"""
FILES = ("h5py", "pydantic", "rich.progress", "rich.table", "soundfile", "soxr", "zarr")
SCHEMA = ("cache_schema.command_line.command", "cache_schema.paths", "cache_schema.reader")
STUDENTS = (
    "lightning_fabric",
    "safetensors.torch",
    "tensorboard.summary.writer.record_writer",
    "torchmetrics.functional.classification",
)
TEACHERS = (
    "safetensors.torch",
    "torchmetrics.functional.classification",
    "transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer",
    "transformers.models.wav2vec2.modeling_wav2vec2",
    "transformers.models.whisper.modeling_whisper",
)
EXPORTERS = (
    *STUDENTS,
    "listed_operators",
    "onnxruntime",
    "torch.export._trace",
    "torch.onnx._internal.exporter._core",
)
LIBRARIES = {
    "benchmarks": (*STUDENTS, *TEACHERS),
    "train-student": STUDENTS,
    "evaluate-student": STUDENTS,
    "compare-students": STUDENTS,
    "dask": ("distributed.cli.dask_scheduler", "distributed.cli.dask_worker"),
    "finetune-teacher": TEACHERS,
    "precompute-teacher": TEACHERS,
    "export-student": EXPORTERS,
    "predict-audio": STUDENTS,
    "teacher_memory.py": TEACHERS,
    "report-run": (*STUDENTS, "bokeh.embed", "bokeh.plotting", "jinja2"),
}


class Request(TypedDict):
    """A command, its name and its surroundings.

    Its words are ``[script, ...]`` or what follows the name of an interpreter: ``["-c", program, ...]``,
    ``["-P", "-m", module, ...]``. ``python`` is what it shall take for its interpreter,
    ``asks`` the process that asks, whose disks it sees.
    """

    words: list[str]
    name: str
    folder: str
    environment: dict[str, str]
    python: str
    asks: int


def start(*, imports_all: bool = False) -> str:
    """Start a server that ends with this process; its address is in the environment of its children.

    With `imports_all` it imports at once whatever any command will, while tests are being collected.
    """
    folder = tempfile.TemporaryDirectory(prefix="commands-")
    address = str(Path(folder.name, "socket"))
    interpreter = Path(folder.name, INTERPRETER)
    interpreter.write_text(
        f"#!{sys.executable} -IS\nimport sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
        f"import command_server\ncommand_server.stand_in({address!r}, {sys.executable!r})\n"
    )
    interpreter.chmod(0o755)
    for name in LIBRARIES:
        words = [interpreter, Path(sys.executable).with_name(name)]
        entry = Path(folder.name, name)
        entry.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
        entry.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, __file__, address, *(LIBRARIES if imports_all else ())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"listening\n"
    for at_exit in (folder.cleanup, server.communicate):
        atexit.register(at_exit)
    os.environ[ADDRESS] = address
    return address


def is_large(request: Request) -> bool:
    """Whether a command imports large libraries, which the toy teacher does not need."""
    toy = any(word.split(":")[0] == "toy" for word in request["words"])
    return request["name"] in LIBRARIES and not toy


def send(address: str, request: Request, streams: tuple[int, int, int], reported: int) -> None:
    """Ask the server at an address for a command."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address + LARGE if is_large(request) else address)
        socket.send_fds(connection, [json.dumps(request).encode()], [*streams, reported])


def stand_in(address: str, python: str) -> None:
    """Be a process that the server forks, to its parent: pass streams, signals and exit code on."""
    words = sys.argv[1:]
    name = "train-student" if words[:2] == ["-P", "-m"] else Path(words[0]).name
    if name not in LIBRARIES:
        os.execv(python, [python, *words])
    read_end, write_end = os.pipe()
    request = Request(
        words=words, name=name, folder=os.getcwd(), environment=dict(os.environ),
        python=sys.argv[0] if name == "compare-students" else python, asks=os.getpid(),
    )  # fmt: skip
    send(address, request, (0, 1, 2), write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb", buffering=0) as reported:
        pid = int(reported.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        code = int(reported.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def serve(listener: socket.socket) -> Request:
    """Fork for each request until standard input ends; return, in a fork, what it is to run."""
    ended, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    reports: dict[int, int] = {}
    while True:
        ready = select.select([listener, sys.stdin, ended], [], [])[0]
        if ended in ready:
            os.read(ended, 1 << 10)
            _report_ended(reports)
        if sys.stdin in ready:
            sys.exit()
        if listener not in ready:
            continue
        connection, _ = listener.accept()
        with connection:
            message, streams, _, _ = socket.recv_fds(connection, 1 << 18, 4)
            while more := connection.recv(1 << 18):
                message += more
        request: Request = json.loads(message)
        if is_large(request):
            import_libraries(request["name"])
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            for descriptor in (ended, wakes, streams[3], *reports.values()):
                os.close(descriptor)
            _take_over(*streams[:3])
            return request
        reports[pid] = streams[3]
        os.write(streams[3], f"{pid}\n".encode())
        for stream in streams[:3]:
            os.close(stream)


def _report_ended(reports: dict[int, int]) -> None:
    """Write the exit codes of the commands that have ended to those who asked for them."""
    for pid in list(reports):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with contextlib.suppress(BrokenPipeError):  # who asked is gone
                os.write(reports[pid], f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(reports.pop(pid))


def import_libraries(*commands: str) -> None:
    """Import what commands will, once for all that follow."""
    large = [name for command in commands for name in LIBRARIES.get(command, ())]
    gc.disable()  # nothing of a library is garbage
    for name in (*FILES, *large, *SCHEMA):
        import_module(name)
    for finalizer in list(vars(weakref.finalize)["_registry"]):
        finalizer.atexit = False  # torch takes its operators apart at its end, one by one
    gc.freeze()  # a fork does not touch, and so copy, what is there already
    gc.enable()


def _take_over(*streams: int) -> None:
    """Make standard input, output and error of these."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    _open_streams()


def _open_streams() -> None:
    """Open output and errors as an interpreter does that is not at a terminal."""
    sys.__stdout__ = sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.__stderr__ = sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)


def enter(pid: int) -> None:
    """See the disks that a process sees, if they are others."""
    if os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
        return
    library = ctypes.CDLL(None, use_errno=True)
    for kind in ("user", "mnt"):
        with open(f"/proc/{pid}/ns/{kind}", "rb") as namespace:
            if library.setns(namespace.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), f"setns: {kind}")


def run(request: Request) -> None:
    """Be the command."""
    enter(request["asks"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    paths = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [path for path in paths if path and path not in sys.path]
    sys.executable = request["python"]
    sys.argv = request["words"]
    match sys.argv:
        case ["-c", program, *rest]:
            sys.argv, sys.path[0] = ["-c", *rest], ""
            sys.modules["__main__"] = ModuleType("__main__")
            exec(program, vars(sys.modules["__main__"]))
        case ["-P", "-m", module, *rest]:
            del sys.path[0]
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [script, *_]:
            sys.path[0] = str(Path(script).parent)
            runpy.run_path(script, run_name="__main__")


def leave(code: int) -> None:
    """End as an interpreter does, but do not take its modules apart.

    That would touch, and so copy, every page of the libraries: most of the time of a short command.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):
        sys.exit(code)  # the interpreter has its own words, and exit code, for a closed stream
    os._exit(code)


if __name__ == "__main__":
    listeners = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for listening, ending in zip(listeners, ("", LARGE), strict=True):
        listening.bind(sys.argv[1] + ending)
        listening.listen()
    print("listening", flush=True)
    for_large = os.fork() == 0
    listeners.pop(not for_large).close()
    import_libraries(*(sys.argv[2:] if for_large else ()))
    with listeners[0]:
        request = serve(listeners[0])
    exit_code: object = 0
    try:
        run(request)
    except SystemExit as ended:
        exit_code = ended.code or 0
    if isinstance(exit_code, int):
        leave(exit_code)
    sys.exit(exit_code)
