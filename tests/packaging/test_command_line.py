"""A new option is a decision, not an accident; commands and links on every page are valid."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import tomllib

import click
import pytest
from commands import fresh_command
from pages import PAGES, REPOSITORY

README = PAGES["README.md"]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

OPTIONS = {
    "aftersound": "--version",
    "precompute-teacher": "--unlabelled --teacher --teacher-name --out --signal --teacher-option "
    "--views --view --seed --unit-rows --codec --workers --scheduler --slice --plan --rates --check "
    "--repair --device --config --version",
    "finetune-teacher": "--base --out --pooling --epochs --freeze-layers --train-front-end "
    "--learning-rate --layer-decay --batch-size --accumulate --balanced --spec-augment --mixup "
    "--noise-snr-db --view --precision --patience --finish --seed --device --threads --config --version",
    "inspect-cache": "--verify --json --clips --split --clip --plot --report --png --config --version",
    "train-student": "--student --out --distill --label-weight --class-map --recipe --epochs "
    "--batch-size --seed --learning-rate --schedule --spec-augment --mixup --average --metric "
    "--labelled-share --unlabelled --lanes --patience --validate-every --device --precision --threads "
    "--logger --plan --config --version",
    "compare-students": "--student --condition --seeds --train --halving --out --folds --jobs --devices "
    "--ledger --report --png --plan --config --version",
    "report-run": "--out --cache --png --config --version",
    "evaluate-student": "--split --report --json --predictions --plot --clip --beside --mark-s --config "
    "--version",
    "export-student": "--to --out --length-s --waveform --streaming --int8 --calibrate --clips --page "
    "--config --version",
    "predict-audio": "--window-s --overlap --frames --top --format --out --config --version",
    "stream-audio": "--rate --format --threshold --refractory-s --window-s --hop-s --config --version",
    "prepare-corpus": "--out --from --config --version",
    "pack-corpus": "--to --out --sample-rate --config --version",
    "aftersound-demo": "--out --quick --config --version",
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


@pytest.mark.parametrize("name", OPTIONS)
def test_help_in_an_interpreter_of_its_own_loads_no_large_library(name: str) -> None:
    run = fresh_command(name, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"Usage: {name} ")
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "click" in imported
    large = {"torch", "transformers", "distributed", "matplotlib", "bokeh", "zarr", "numcodecs"}
    assert imported & large == set()


def piped(words: list[str]) -> list[list[str]]:
    """The commands of a pipe; a quoted bar is part of a word."""
    bars = [place for place, word in enumerate(words) if word == "|"]
    return [
        words[first + 1 : last]
        for first, last in zip([-1, *bars], [*bars, len(words)], strict=True)
    ]


def commands_of(page: str) -> list[list[str]]:
    """Every line of a page's code blocks that runs one of our commands."""
    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", page, re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ").replace("$seed", "0")
    lines = [re.sub(r"^\$ ", "", line.strip()) for line in text.splitlines()]
    pieces = [piece.strip() for line in lines for piece in line.split("&&")]
    words = [part for piece in pieces for part in piped(shlex.split(piece, comments=True))]
    return [w for w in words if w and w[0].rsplit("/", 1)[-1] in OPTIONS]


@pytest.mark.parametrize(
    "words", [words for page in PAGES.values() for words in commands_of(page)], ids=" ".join
)
def test_the_commands_on_all_pages_parse(words: list[str]) -> None:
    command = load(words[0].rsplit("/", 1)[-1])
    context = command.make_context(command.name, words[1:])
    if isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, words[1:])
        assert command is not None
        context = command.make_context(name, rest, parent=context)
    assert context.params


def test_the_readme_shows_every_command() -> None:
    shown = {words[0].rsplit("/", 1)[-1] for words in commands_of(README)}
    assert shown == set(OPTIONS)


def test_the_readmes_test_command_is_the_one_ci_runs() -> None:
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert "python -m pytest\n" in README
    assert "python -m pytest\n" in ci


def anchors(page: str) -> set[str]:
    """Anchors of a page's headings, as GitHub derives them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_a_file_and_a_heading(name: str) -> None:
    wrong = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[name]):
        file, _, anchor = link.partition("#")
        target = (REPOSITORY / name).parent / file if file else REPOSITORY / name
        page = PAGES.get(os.path.relpath(target, REPOSITORY))
        if not target.exists() or (anchor and anchor not in anchors(page or "")):
            wrong.append(link)
    assert wrong == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200
