"""A new option is a decision, not an accident; and the README says only what is so."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

OPTIONS = {
    "precompute-teacher": "--teacher --teacher-name --out --signal --teacher-option --views --view "
    "--seed --unit-rows --codec --workers --scheduler --plan --check --repair --device --config",
    "finetune-teacher": "--base --out --pooling --epochs --freeze-layers --train-front-end "
    "--learning-rate --layer-decay --batch-size --accumulate --balanced --spec-augment --mixup "
    "--noise-snr-db --view --precision --patience --seed --device --threads --config",
    "inspect-cache": "--verify --json --clip --plot --config",
    "train-student": "--student --out --distill --label-weight --class-map --recipe --epochs "
    "--batch-size --seed --learning-rate --schedule --spec-augment --mixup --average --metric --device "
    "--precision --threads --config",
    "compare-students": "--student --rung --seeds --train --out --folds --jobs --ledger --plan --config",
    "evaluate-student": "--split --report --json --plot --clip --beside --mark-s --config",
    "prepare-corpus": "--out --from --config",
    "pack-corpus": "--to --out --sample-rate --config",
    "aftersound-demo": "--out --quick --config",
}


def load(name: str) -> click.Command:
    module, _, attribute = PROJECT["scripts"][name].partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


def test_every_console_script_is_frozen_here() -> None:
    assert set(PROJECT["scripts"]) == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_the_frozen_ones(name: str) -> None:
    command = load(name)
    assert command.name == name
    found = [option.opts[0] for option in command.params if isinstance(option, click.Option)]
    assert sorted(found) == sorted(OPTIONS[name].split())


def readme_commands() -> list[list[str]]:
    """Every line of a README code block that runs one of our commands."""
    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", README, re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ").replace("$seed", "0")
    lines = [re.sub(r"^\$ ", "", line.strip()) for line in text.splitlines()]
    pieces = [piece.strip() for line in lines for piece in line.split("&&")]
    words = [shlex.split(piece, comments=True) for piece in pieces]
    return [w for w in words if w and w[0].rsplit("/", 1)[-1] in OPTIONS]


@pytest.mark.parametrize("words", readme_commands(), ids=" ".join)
def test_the_readmes_commands_parse(words: list[str]) -> None:
    command = load(words[0].rsplit("/", 1)[-1])
    context = command.make_context(command.name, words[1:])
    assert context.params


def test_the_readme_shows_every_command() -> None:
    shown = {words[0].rsplit("/", 1)[-1] for words in readme_commands()}
    assert shown == set(OPTIONS)


def test_the_readmes_test_command_is_the_one_ci_runs() -> None:
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert "python -m pytest\n" in README
    assert "python -m pytest\n" in ci


def test_the_readmes_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert links
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
