"""The commands' common manners."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cache_schema.command import Command
from cache_schema.errors import CacheError, RunError, UsageError


@click.command(cls=Command, name="fail")
@click.option("--kind", default="run")
@click.option("--batch-size", "size", type=int, default=1)
@click.option("--signal", "signals", multiple=True)
def fail(kind: str, size: int, signals: tuple[str, ...]) -> None:
    click.echo(f"{kind} {size} {signals}")
    errors = {"run": RunError, "usage": UsageError, "cache": CacheError}
    if kind in errors:
        raise errors[kind](f"no {kind}", kind=kind)


@pytest.mark.parametrize(("kind", "code"), [("fine", 0), ("run", 1), ("usage", 2), ("cache", 3)])
def test_errors_become_exit_codes(kind: str, code: int) -> None:
    result = CliRunner().invoke(fail, ["--kind", kind])
    assert result.exit_code == code
    assert ("Traceback" in result.output) is False
    assert code == 0 or f"fail: no {kind}" in result.output


def test_a_file_gives_options_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('kind = "fine"\nbatch_size = 3\nsignal = ["a", "b"]\n')
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.output == "fine 3 ('a', 'b')\n"
    result = CliRunner().invoke(fail, ["--batch-size", "4", "--config", str(config)])
    assert result.output == "fine 4 ('a', 'b')\n"


def test_all_wrong_keys_of_a_file_are_named(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("batch_sise = 3\nkidn = 1\n")
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.exit_code == 2
    assert "Did you mean 'batch_size'" in result.output
    assert "Did you mean 'kind'" in result.output


def test_what_is_not_toml_is_said(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("= 3")
    result = CliRunner().invoke(fail, ["--config", str(config)])
    assert result.exit_code == 2
    assert "is not TOML" in result.output


@click.command(cls=Command, name="write")
@click.option("--number", type=int)
@click.option("--name")
@click.option("--out", type=click.Path(path_type=Path))
def write(number: int, name: str | None, out: Path | None) -> None:
    raise OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.ENOSPC, "Free some space there"),
        (errno.EDQUOT, "Free some of your quota there"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "Make it writable"),
        (errno.EACCES, "Allow access to it"),
        (errno.EPERM, "Allow access to it"),
    ],
)
def test_what_the_disk_refuses_is_told_with_the_way_on(number: int, way: str) -> None:
    result = CliRunner().invoke(write, ["--number", str(number), "--name", "/a/b", "--out", "/c"])
    assert result.exit_code == 1
    assert result.output.startswith(
        f"write: {os.strerror(number)} (/a/b). What was finished is kept"
    )
    assert way in result.output
    assert result.output.endswith("choose another place (--out), and repeat the command.\n")


def test_an_error_without_a_file_names_the_target() -> None:
    result = CliRunner().invoke(write, ["--number", str(errno.ENOSPC), "--out", "/c/d"])
    assert result.output.startswith("write: No space left on device (/c/d). ")


def test_other_errors_of_the_system_are_told_as_they_are() -> None:
    result = CliRunner().invoke(write, ["--number", str(errno.ENOENT), "--name", "/a/b"])
    assert result.output == "write: No such file or directory (/a/b)\n"
