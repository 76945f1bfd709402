"""The commands' common manners."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cache_schema.command_line.aftersound import scripts
from cache_schema.command_line.command import Command
from cache_schema.errors import CacheError, RunError, UsageError


@click.command(cls=Command, name="fail")
@click.option("--kind", default="run")
@click.option("--batch-size", "size", type=int, default=1)
@click.option("--signal", "signals", multiple=True)
def fail(kind: str, size: int, signals: tuple[str, ...]) -> None:
    click.echo(f"{kind} {size} {signals}")
    if kind == "ended":
        sys.exit(0)
    errors = {"run": RunError, "usage": UsageError, "cache": CacheError}
    if kind in errors:
        raise errors[kind](f"no {kind}", kind=kind)


@pytest.mark.parametrize(("kind", "code"), [("fine", 0), ("run", 1), ("usage", 2), ("cache", 3)])
def test_errors_become_exit_codes(kind: str, code: int) -> None:
    result = CliRunner().invoke(fail, ["--kind", kind])
    assert result.exit_code == code
    assert ("Traceback" in result.output) is False
    assert code == 0 or f"fail: no {kind}" in result.output


def test_a_library_that_ends_the_process_is_no_success() -> None:
    result = CliRunner().invoke(fail, ["--kind", "ended"])
    assert result.exit_code == 1
    assert "fail: failed with SystemExit: 0. A library or a plug-in would have" in result.output


def test_a_file_gives_options_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    mark = "\ufeff"  # as some editors put before all text
    config.write_text(
        f'{mark}kind = "fine"\nbatch_size = 3\nsignal = ["a", "b"]\n', encoding="utf-8"
    )
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.output == "fine 3 ('a', 'b')\n"
    result = CliRunner().invoke(fail, ["--batch-size", "4", "--config", str(config)])
    assert result.output == "fine 4 ('a', 'b')\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_file_of_a_windows_editor_is_read(tmp_path: Path, encoding: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text('kind = "fine"', encoding=encoding)
    assert CliRunner().invoke(fail, ["--config", str(config)]).output == "fine 1 ()\n"


def test_all_wrong_keys_of_a_file_are_named(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("batch_sise = 3\nkidn = 1\n")
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.exit_code == 2
    assert "Did you mean 'batch_size'" in result.output
    assert "Did you mean 'kind'" in result.output


@click.command(cls=Command, name="listen")
@click.argument("model")
@click.argument("recordings", nargs=-1)
def listen(model: str, recordings: tuple[str, ...]) -> None:
    click.echo(f"{model} {recordings}")


def test_an_argument_is_no_key_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('model = "m"\n')
    result = CliRunner().invoke(listen, ["--config", str(config), "m"])
    assert result.exit_code == 2
    assert "model: MODEL is no option, so the command line gives it" in result.output


def test_a_file_that_looks_like_an_option_is_named_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-1 b.wav").touch()
    result = CliRunner().invoke(listen, ["m", "-1 b.wav"])
    assert result.exit_code == 2
    assert "No such option '-1'. The file of that name is written './-1 b.wav'." in result.output
    assert "The file" not in CliRunner().invoke(listen, ["m", "-2.wav"]).output
    assert CliRunner().invoke(listen, ["m", "./-1 b.wav"]).output == "m ('./-1 b.wav',)\n"


def test_a_value_that_an_option_does_not_take_is_named_with_the_file(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('batch_size = 2.5\nkidn = "x"\n')
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.exit_code == 2
    assert f"{config}: 2 problem(s)" in result.output
    assert "batch_size: '2.5' is not a valid integer" in result.output


def test_what_is_not_toml_is_reported(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("= 3")
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.exit_code == 2
    assert "is not TOML" in result.output


def test_options_come_from_a_pipe_but_not_without_end(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f"# {'x' * (1 << 20)}\n")
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.exit_code == 2
    assert "has more than 1048576 bytes" in result.output
    config.write_text("version = true")  # shown before anything is done
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.exit_code == 2
    assert "unknown key 'version'" in result.output
    result = CliRunner().invoke(fail, ["--config", "/dev/zero"])
    assert result.exit_code == 2
    read, write_end = os.pipe()
    os.write(write_end, b"= 3")
    os.close(write_end)
    result = CliRunner().invoke(fail, ["--config", f"/dev/fd/{read}"])
    os.close(read)
    assert "is not TOML" in result.output


@click.command(cls=Command, name="write", goes_on=True)
@click.option("--number", type=int)
@click.option("--name")
@click.option("--out", type=click.Path(path_type=Path))
def write(number: int, name: str | None, out: Path | None) -> None:
    raise OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.ENOSPC, "Free some space there, or choose another place to write"),
        (errno.EDQUOT, "Free some of your quota there, or choose another place to write"),
        (errno.EFBIG, "(ulimit -f), or choose another place to write"),
        (errno.EROFS, "Make it writable, or choose another place to write"),
        (errno.EACCES, "Allow access to it, or name another place"),  # to read or to write
        (errno.EPERM, "Allow access to it, or name another place"),
        (errno.EISDIR, "Move that folder away, or name another place"),
        (errno.EMFILE, "Raise the limit of open files (ulimit -n), or request fewer processes"),
        (errno.EAGAIN, "Raise the limit of processes and threads (ulimit -u), or request fewer"),
    ],
)
def test_what_the_disk_does_not_take_is_reported_with_the_way_on(number: int, way: str) -> None:
    result = CliRunner().invoke(write, ["--number", str(number), "--name", "/a/b", "--out", "/c"])
    assert result.exit_code == 1
    assert result.output.startswith(
        f"write: {os.strerror(number)} (/a/b). What was finished is kept"
    )
    assert result.output.endswith(f"{way}, and repeat the command.\n")


@pytest.mark.parametrize(("number", "place"), [(errno.ENOSPC, " (/c)"), (errno.EACCES, "")])
def test_a_full_disk_alone_is_that_of_the_output(number: int, place: str) -> None:
    result = CliRunner().invoke(write, ["--number", str(number), "--out", "/c"])
    assert result.output.startswith(f"write: {os.strerror(number)}{place}. What was finished")


def test_a_working_folder_that_was_deleted_is_named_as_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command(cls=Command, name="look")
    def look() -> None:
        os.getcwd()

    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = CliRunner().invoke(look, [])
    assert result.exit_code == 1
    assert result.output.startswith(
        "look: the working folder is no longer there. Change to another"
    )


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENFILE])
def test_what_a_disk_or_a_network_does_not_give_is_reported_with_a_way_on(number: int) -> None:
    result = CliRunner().invoke(write, ["--number", str(number), "--name", "/a/b"])
    assert result.output == (
        f"write: {os.strerror(number)} (/a/b). What was finished is kept. Correct what refused it "
        "(disk, network, mount, permissions), and repeat the command.\n"
    )


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "limit of open files (ulimit -n)"),
        (BlockingIOError(errno.EAGAIN, "no process"), "processes and threads (ulimit -u)"),
        (RuntimeError("can't start new thread"), "processes and threads (ulimit -u)"),
        (RuntimeError("Could not determine home directory."), "Name one (export HOME=/tmp), and"),
        (MemoryError(), "there is not enough memory"),
        (OSError(errno.EIO, "Input/output error", "/a"), "Input/output error (/a)."),
        (ValueError("of a library"), "failed with RuntimeError: a nanny failed to start. What"),
    ],
)
def test_a_library_names_what_the_system_refused(
    cause: Exception, message: str, explicit: bool
) -> None:
    @click.command(cls=Command, name="start", goes_on=True)
    def start() -> None:
        try:
            try:
                raise cause
            except Exception as error:
                if explicit:
                    raise RuntimeError("between") from error
                raise RuntimeError("between")  # noqa: B904 - the implicit cause is the case
        except RuntimeError as error:
            raise RuntimeError("a nanny failed to start.") from error

    result = CliRunner().invoke(start)
    assert result.exit_code == 1
    assert message in result.output
    assert "What was finished is kept. " in result.output
    assert len(result.output.splitlines()) == 1


def test_a_limit_of_threads_is_named() -> None:
    @click.command(cls=Command, name="start")
    def start() -> None:
        raise RuntimeError("can't start new thread")

    assert CliRunner().invoke(start).output == (
        "start: can't start new thread. Raise the limit of processes and threads (ulimit -u), or "
        "request fewer, and repeat the command.\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full", "/a/b"),
        MemoryError(),
        KeyboardInterrupt(),
        ValueError("x"),
        RunError("/a cannot be read. Repeat the command.", kind="unreadable"),
    ],
)
@pytest.mark.parametrize("goes_on", [True, False])
def test_only_a_command_that_goes_on_claims_that_something_is_kept(
    error: BaseException, goes_on: bool
) -> None:
    @click.command(cls=Command, name="end", goes_on=goes_on)
    def end() -> None:
        raise error

    result = CliRunner().invoke(end)
    assert result.exit_code == 1
    assert ("What was finished is kept." in result.output) is goes_on
    assert "epeat the command" in result.output


def test_commands_that_go_on_are_those_whose_work_is_kept() -> None:
    """A full disk under an export, a page or a picture leaves nothing of it."""
    commands = {name: script.load() for name, script in scripts().items()}
    assert {name for name, one in commands.items() if one.goes_on} == {
        "precompute", "finetune", "pack", "prepare", "train", "compare", "demo",
    }  # fmt: skip


def test_an_error_without_a_file_names_the_target() -> None:
    result = CliRunner().invoke(write, ["--number", str(errno.ENOSPC), "--out", "/c/d"])
    assert result.output.startswith("write: No space left on device (/c/d). ")


def test_other_errors_of_the_system_are_reported_as_they_are() -> None:
    result = CliRunner().invoke(write, ["--number", str(errno.ELOOP), "--name", "/a/b"])
    assert result.output == f"write: {os.strerror(errno.ELOOP)} (/a/b)\n"


def test_what_is_gone_is_named_with_the_way_on() -> None:
    result = CliRunner().invoke(write, ["--number", str(errno.ENOENT), "--name", "/a/b"])
    assert "write: No such file or directory (/a/b)." in result.output
    assert "leave it there while a command runs, and repeat the command.\n" in result.output


@click.command(cls=Command, name="call")
@click.argument("name")
def call(name: str) -> None:
    def inner() -> None:
        raise RAISED[name]

    inner()


RAISED = {
    "memory": MemoryError(),
    "runtime": RuntimeError("CUDA error: \x1b[31mred\nsecond line"),
    "key": KeyError("k"),
    "value": ValueError("x" * 5000),
    "recursion": RecursionError("maximum recursion depth exceeded"),
    "import": ImportError("libfoo.so: cannot open shared object file"),
    "missing": ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"),
    "system": OSError("no number"),
    "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "silent": ZeroDivisionError(),
    "assertion": AssertionError(),
    "stop": StopIteration(),
}


@pytest.mark.parametrize("name", RAISED)
def test_what_a_library_raises_is_a_line(name: str) -> None:
    result = CliRunner().invoke(call, [name])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert result.output.startswith("call: ")
    assert result.output.count("\n") == 1
    assert len(result.output) < 700
    assert "Traceback (" not in result.output
    assert result.output[:-1].isprintable()


def test_the_line_names_the_error_and_how_to_see_more() -> None:
    printed = CliRunner().invoke(call, ["runtime"]).output
    assert "failed with RuntimeError: CUDA error: \\x1b[31mred. " in printed
    assert "AFTERSOUND_TRACEBACK=1" in printed
    assert "failed with KeyError: 'k'" in CliRunner().invoke(call, ["key"]).output
    assert "pyarrow is not installed" in CliRunner().invoke(call, ["missing"]).output
    assert "not enough memory" in CliRunner().invoke(call, ["memory"]).output


def test_a_server_that_refuses_is_named_through_what_a_library_makes_of_it() -> None:
    @click.command(cls=Command, name="ask", goes_on=True)
    def ask() -> None:
        with socket.socket() as port:  # bound, and nobody listens
            port.bind(("127.0.0.1", 0))
            urllib.request.urlopen(f"http://127.0.0.1:{port.getsockname()[1]}/")

    printed = CliRunner().invoke(ask).output
    assert printed.startswith("ask: Connection refused. What was finished is kept. Correct what")
    assert printed.endswith("and repeat the command.\n")


@pytest.mark.parametrize("name", RAISED)
def test_developers_can_see_the_traceback(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERSOUND_TRACEBACK", "1")
    result = CliRunner().invoke(call, [name])
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.output
    assert "in inner" in result.output
    assert "call: " in result.output


def test_errors_of_ours_are_escaped_too() -> None:
    result = CliRunner().invoke(fail, ["--kind", "run", "--signal", "\x1b]0;x\x07"])
    assert "\x1b" not in result.output


SCRIPT = r"""
import os, sys, click
from cache_schema.command_line.aftersound import scripts
from cache_schema.command_line.command import Command
from cache_schema.terminal import Terminal, echo
@click.command(cls=Command, name="speak")
@click.option("--out", default="the-cache")
def speak(out):
    with open(os.environ["FILE"], "w") as file:
        for _ in range(3):
            echo("caf\u00e9 \udce9 \u72ac \U0001f514")
            Terminal().print("\u2501 caf\u00e9")
        file.write("kept")
speak()
"""


def run_script(
    tmp_path: Path, redirection: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command that prints from a shell, and look that its file is what it wrote."""
    (tmp_path / "speak.py").write_text(SCRIPT)
    file = tmp_path / "file"
    words = f"{sys.executable} {tmp_path / 'speak.py'}"
    found = subprocess.run(
        ["bash", "-c", f"{words} {redirection}"],
        capture_output=True,
        check=False,
        env=os.environ | {"FILE": str(file)} | environment,
    )
    assert b"Traceback" not in found.stderr, found.stderr
    return found


@pytest.mark.parametrize("written", ["lines", "help", "version", "completion", "completions"])
def test_a_full_device_of_the_output_is_named_and_not_the_cache(
    tmp_path: Path, written: str
) -> None:
    """A script for the shell is written as bytes, below what writes text."""
    words, environment = {
        "lines": ("", {}),
        "help": ("--help", {}),
        "version": ("--version", {}),
        "completion": ("", {"_SPEAK_PY_COMPLETE": "bash_source"}),
        "completions": (
            "", {"_SPEAK_PY_COMPLETE": "bash_complete", "COMP_WORDS": "speak --", "COMP_CWORD": "1"},
        ),
    }[written]  # fmt: skip
    found = run_script(tmp_path, f"{words} > /dev/full", **environment)
    assert found.returncode == 1
    assert found.stderr.count(b"\n") == 1, found.stderr
    assert b"speak: No space left on device (standard output)" in found.stderr
    assert b"the-cache" not in found.stderr


def test_output_that_is_closed_goes_nowhere_and_into_no_file(tmp_path: Path) -> None:
    for redirection in ("1>&-", "2>&-", "0<&- 1>&- 2>&-"):
        found = run_script(tmp_path, redirection)
        assert found.returncode == 0
        assert found.stderr == b""
        assert (tmp_path / "file").read_text() == "kept"


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    found = run_script(tmp_path, "| true; exit ${PIPESTATUS[0]}")
    assert found.returncode in (0, 1)
    assert found.stderr == b""


def test_any_path_can_be_printed_on_any_terminal(tmp_path: Path) -> None:
    found = run_script(tmp_path, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert found.returncode == 0
    printed = rb"caf\u00e9 \xe9 \u72ac \ud83d\udd14"  # as in JSON, but for a byte of a path
    assert printed in found.stdout


def test_an_error_without_any_output_left_has_its_exit_code(tmp_path: Path) -> None:
    found = run_script(tmp_path, "--nothing > /dev/full 2> /dev/full")
    assert found.returncode in (1, 2)
