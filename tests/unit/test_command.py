"""The commands' common manners."""

from __future__ import annotations

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
