"""The commands' common manners: errors without a traceback, exit codes, ``--config FILE.toml``."""

from __future__ import annotations

import errno
import io
import math
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from cache_schema.command_line.interrupts import interrupts
from cache_schema.errors import AftersoundError, RunError, UsageError, bullet_list, is_out_of_memory
from cache_schema.paths import LocalPath
from cache_schema.plugins import unknown_name
from cache_schema.store.files import named_in_errors
from cache_schema.store.safe_open import is_refusal
from cache_schema.terminal import echo
from cache_schema.text import ESCAPED, shell_word
from cache_schema.toml_text import toml_document

# Set, it shows developers the traceback of an error that no code of ours raised.
TRACEBACK = "AFTERSOUND_TRACEBACK"
OUTPUT = "standard output"
KEPT = " What was finished is kept."
_SHOWN_CHARACTERS = 400
_MAX_CONFIG_BYTES = 1 << 20

# What the disk or a limit refuses, and what a user can do about it before the command is repeated.
_WAYS_OUT = {
    errno.ENOSPC: "Free some space there, or choose another place to write",
    errno.EDQUOT: "Free some of your quota there, or choose another place to write",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or choose another place to write",
    errno.EROFS: "Make it writable, or choose another place to write",
    errno.EACCES: "Allow access to it, or name another place",
    errno.EPERM: "Allow access to it, or name another place",
    errno.ENOENT: "Put it there, and leave it there while a command runs",
    errno.EISDIR: "Move that folder away, or name another place",
    errno.EINVAL: "Name another place (FAT, exFAT and NTFS take no name with : or ?)",
    errno.EMFILE: "Raise the limit of open files (ulimit -n), or request fewer processes",
    errno.EAGAIN: "Raise the limit of processes and threads (ulimit -u), or request fewer",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# In RuntimeErrors of Python's.
_NO_THREAD = "can't start new thread"
_NO_HOME = "Could not determine home directory"


class Number(click.FloatRange):
    """A range of finite numbers; click's own lets NaN through, which is in no range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reject NaN and infinity."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class VersionOption(click.Option):
    """``--version``, which prints the version of the distribution."""

    def __init__(self) -> None:
        super().__init__(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
            help="Show the version and exit.",
        )  # fmt: skip


def _print_version(context: click.Context, _: click.Parameter, requested: bool) -> None:
    if requested and not context.resilient_parsing:
        from importlib.metadata import version  # 40 ms that no other command needs

        echo(f"{context.info_name}, aftersound {version('aftersound')}")
        context.exit()


class Command(click.Command):
    """A click command that turns :class:`AftersoundError` into a message and its exit code.

    It takes ``--config FILE.toml`` whose keys are the option names with underscores; what the
    command line gives wins.

    Parameters
    ----------
    goes_on : bool
        What a command that failed or was stopped had finished is kept, and the same command goes on from
        there: its messages say so. Others begin anew.
    """

    def __init__(self, *args: Any, goes_on: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.goes_on, self._kept = goes_on, KEPT if goes_on else ""
        self.params.append(
            click.Option(
                ["--config"],
                type=LocalPath(exists=True, dir_okay=False),
                is_eager=True,
                expose_value=False,
                callback=_read_config,
                metavar="FILE.toml",
                help="Options from a file; the command line wins.",
            )
        )
        self.params.append(VersionOption())

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; an error ends as a message on stderr and its exit code, whoever raised it."""
        with shown_errors(str(self.name), self._kept), interrupts():
            return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; the message of a file whose name looks like an option shows how to write it."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            files = [w for w in words if w.startswith(error.option_name) and os.path.lexists(w)]
            if not files:
                raise
            message = f"{error.message} The file of that name is written {shell_word(files[0])}."
            raise click.NoSuchOption(error.option_name, message, ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an interrupt that it does not report itself is a message as well.

        A full disk's errors name no file: what was being written is then below ``--out``.
        """
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.filename is None and error.errno in _FULL:
                error.filename = ctx.params.get("out")
            raise
        except SystemExit as error:  # click's own way to end is no SystemExit
            if isinstance(error.__context__, BrokenPipeError):  # rich's, where nobody reads on
                raise
            raise RunError(
                f"failed with SystemExit: {error}. A library or a plug-in would have ended the process."
                f"{self._kept}",
                kind="ended",
            ) from error
        except KeyboardInterrupt:
            way = "go on" if self.goes_on else "begin anew"
            raise RunError(
                f"stopped.{self._kept} Repeat the command to {way}.", kind="interrupted"
            ) from None


@contextmanager
def shown_errors(name: str, kept: str = "") -> Iterator[None]:
    """Turn every error of the command `name` into a message on stderr and its exit code.

    `kept` is what such a message says of what the command had finished.
    """
    _open_streams()
    # matplotlib, which metrics import, rejects a name that it does not know, such as the one that a
    # notebook hands to a command of another environment; and nothing here opens a window.
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    except AftersoundError as error:
        code, message = error.exit_code, str(error)
        if error.kind == "unreadable":  # the same from any command that reads
            message += kept
    except Exception as error:  # of the system, of a library, or a mistake of ours
        if isinstance(error, OSError) and error.errno is not None:
            code, message = 1, _described(error, kept)
        else:
            code, message = 1, _described_by_cause(error, kept)
    else:
        return
    with suppress(OSError):  # stderr may be closed or full: the exit code is left
        echo(f"{name}: {message}", err=True)
    raise SystemExit(code)


def _open_streams() -> None:
    """Let output that is closed go nowhere, and let a path be printed on any terminal."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # or the next file to be opened would be the output
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors=ESCAPED)
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = io.TextIOWrapper(
            _Output(io.FileIO(sys.stdout.fileno(), "wb", closefd=False)),
            encoding=sys.stdout.encoding,
            errors=ESCAPED,
            line_buffering=sys.stdout.line_buffering,
            write_through=sys.stdout.write_through,
        )


class _Output(io.BufferedWriter):
    """The standard output; its first error names it, as one of the system does not.

    The file below is C's own: a signal that comes as Python code returns from writing would leave what
    was written in the buffer, to be written again.
    """

    def write(self, content: Any, /) -> int:
        """Write bytes; what cannot be written is an error once."""
        with self._named():
            return super().write(content)

    def flush(self) -> None:
        """Write what is left; what cannot be written is an error once."""
        with self._named():
            super().flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the output in an error, and drop what follows, or it would fail again at the end."""
        try:
            with named_in_errors(OUTPUT):
                yield
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            raise


def _described(error: OSError, kept: str) -> str:
    """Name what the disk refused and where, what is left, and how to go on."""
    _show_traceback()
    if error.filename is None and not _in_a_folder():
        return (
            "the working folder is no longer there. Change to another (cd), and repeat the command."
        )
    place = f" ({error.filename})" if error.filename else ""
    message = f"{error.strerror or error}{place}"
    if error.errno not in _WAYS_OUT and not is_refusal(error):
        return message
    if error.filename == OUTPUT:
        return f"{message}.{kept} Send the output elsewhere, and repeat the command."
    way = _WAYS_OUT.get(
        error.errno or 0, "Correct what refused it (disk, network, mount, permissions)"
    )
    return f"{message}.{kept} {way}, and repeat the command."


def _in_a_folder() -> bool:
    """Whether the process stands in a folder that is still there."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _described_by_cause(error: Exception, kept: str) -> str:
    """Describe what a library raised: what the system refused, where it comes from that."""
    cause: BaseException | None = error
    while cause is not None:
        if is_out_of_memory(cause):
            return _out_of_memory(kept)
        if str(cause) == _NO_THREAD:
            return _described(OSError(errno.EAGAIN, _NO_THREAD), kept)
        if str(cause).startswith(_NO_HOME):
            return _no_home(kept)
        if isinstance(cause, OSError) and is_refusal(cause):
            return _described(cause, kept)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return _unforeseen(error, kept)


def _no_home(kept: str) -> str:
    _show_traceback()
    return (
        f"a library looks for this user's home folder, and there is none.{kept} Name one "
        "(export HOME=/tmp), and repeat the command."
    )


def _out_of_memory(kept: str) -> str:
    _show_traceback()
    return (
        f"there is not enough memory.{kept} Raise the limit (ulimit -v), or request less at once "
        "(batches, processes), and repeat the command."
    )


def _unforeseen(error: Exception, kept: str) -> str:
    """Describe what a library raised."""
    if not _show_traceback() and isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name} is not installed. Install it: pip install 'aftersound[all]'"
    first = (str(error).strip().splitlines() or ["no message"])[0][:_SHOWN_CHARACTERS]
    message = f"failed with {type(error).__name__}: {first.rstrip('.')}."
    return f"{message}{kept} To see where, repeat the command with {TRACEBACK}=1"


def _show_traceback() -> bool:
    """Print the traceback of the error in hand where a developer requests it."""
    requested = bool(os.environ.get(TRACEBACK))
    if requested:
        traceback.print_exc()
    return requested


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    with path.open("rb") as file:  # a pipe or a device too: <(echo ...)
        content = file.read(_MAX_CONFIG_BYTES + 1)
    if len(content) > _MAX_CONFIG_BYTES:
        raise UsageError(
            f"{path} is no list of options: it has more than {_MAX_CONFIG_BYTES} bytes",
            kind="config",
        )
    values = toml_document(content, path)
    options = [p for p in context.command.params if isinstance(p, click.Option) and not p.is_eager]
    names = {_spelled(option): option for option in options}
    arguments = {p.name: p for p in context.command.params if isinstance(p, click.Argument)}
    problems = [
        f"{key}: {arguments[key].make_metavar(context)} is no option, so the command line gives it"
        if key in arguments
        else str(unknown_name(key, sorted(names), "key"))
        for key in values
        if key not in names
    ]
    found = {key: _as_given(names[key], values[key]) for key in values if key in names}
    problems += [f"{k}: expected {_expected(names[k])}" for k, v in found.items() if v is None]
    problems += [
        f"{key}: {why}"
        for key, value in found.items()
        if value is not None and (why := _not_taken(context, names[key], value))
    ]
    if problems:
        raise UsageError(
            f"{path}: {len(problems)} problem(s)\n{bullet_list(problems)}", kind="config"
        )
    given = {str(names[key].name): value for key, value in found.items()}
    context.default_map = {**(context.default_map or {}), **given}


def _as_given(option: click.Option, value: Any) -> Any:
    """The value as the command line would give it, or None where it has another shape."""
    several = option.multiple or option.nargs != 1
    values = value if isinstance(value, list) else [value]
    if several != isinstance(value, list) or any(
        not isinstance(one, str | int | float)
        or isinstance(one, bool) != option.is_flag
        or "\0" in str(one)
        for one in values
    ):
        return None
    texts = [one if option.is_flag else str(one) for one in values]
    return texts if several else texts[0]


def _not_taken(context: click.Context, option: click.Option, value: Any) -> str:
    """Why an option does not take a value; its message would not name the file."""
    try:
        option.type_cast_value(context, value)
    except click.BadParameter as error:
        return error.message
    return ""


def _expected(option: click.Option) -> str:
    """How a message calls what an option takes."""
    if option.is_flag:
        return "true or false"
    return (
        "a list of strings or numbers"
        if option.multiple or option.nargs != 1
        else "a string or number"
    )


def _spelled(option: click.Option) -> str:
    """The option as the command line spells it, with underscores: ``--batch-size`` → batch_size."""
    longest = max(option.opts, key=len)
    return longest.lstrip("-").replace("-", "_")
