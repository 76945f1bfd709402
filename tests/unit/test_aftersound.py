"""``aftersound``: all commands as sub-commands, lists of names, and what shells complete."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from pages import REPOSITORY
from small_cache import clips, write_small_cache

from cache_schema.command_line.aftersound import REGISTRIES, main, scripts
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.inspection.cli import main as inspect_cache
from pipeline.corpora import CORPORA
from pipeline.teachers import MODEL_TYPES, TEACHERS
from pipeline.views import VIEWS
from student.losses import LOSSES
from student.metrics import METRICS
from student.models import STUDENTS
from student.training.cli import main as train_student

NAMES = {
    "students": STUDENTS, "losses": LOSSES, "metrics": METRICS, "corpora": CORPORA,
    "teachers": TEACHERS, "model-types": MODEL_TYPES, "views": VIEWS, "front-ends": FRONT_ENDS,
}  # fmt: skip


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def completed(command: object, line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What click answers a shell for the last word of a line."""
    words = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", line)
    shell = ShellComplete(command, {}, words[0], "_COMPLETE")  # type: ignore[arg-type]
    return [item.value for item in shell.get_completions(words[1:-1], words[-1])]


def test_every_script_but_its_own_is_a_sub_command() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {script.name for script in scripts().values()}
    assert names == set(project["scripts"]) - {"aftersound"}
    shown = run("--help").output
    for name, script in scripts().items():
        assert f"  {name} " in shown
        assert script.name in shown


def test_a_sub_command_is_the_command(tmp_path: Path) -> None:
    refused = run("train", tmp_path, "--student", "tc-resnt", "--out", tmp_path / "run")
    assert refused.exit_code == 2
    assert "Did you mean 'tc-resnet'?" in refused.output
    missing = run("inspect", tmp_path / "none.zarr")
    assert missing.exit_code == 3
    assert "precompute-teacher CORPUS" in missing.output


def test_another_word_is_rejected_with_the_nearest() -> None:
    refused = run("trian")
    assert refused.exit_code == 2
    assert "unknown command 'trian'" in refused.output
    assert "Did you mean 'train'?" in refused.output


@pytest.mark.parametrize("kind", NAMES)
def test_a_list_has_every_name_with_options_and_a_line_on_it(kind: str) -> None:
    shown = run("list", kind)
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    first = [words[0].rstrip(":") for words in lines if words]
    assert [name for name in NAMES[kind] if name not in first] == []


def test_a_list_has_options_with_their_defaults() -> None:
    assert "low_db=-6.0, high_db=6.0" in " ".join(run("list", "views").output.split())
    assert "length_s=…" in run("list", "views").output
    assert "Temporal convolutions over MFCCs" in run("list", "students").output


def test_all_kinds_of_plugins_are_listed() -> None:
    assert {*REGISTRIES, "front-ends"} == {*NAMES, "exporters"}
    assert "onnx" in run("list", "exporters").output


@pytest.mark.parametrize("command", [main, train_student, inspect_cache], ids=lambda c: c.name)
def test_the_version_is_the_distributions(command: object) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    result = CliRunner().invoke(command, ["--version"])  # type: ignore[arg-type]
    assert result.exit_code == 0
    assert result.output.endswith(f", aftersound {project['version']}\n")


def test_shells_complete_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(train_student, "train-student x --student mo", monkeypatch) == ["mobilenet"]
    assert completed(main, "aftersound train x --distill temp", monkeypatch) == ["temporal"]
    assert completed(main, "aftersound pre", monkeypatch) == ["precompute", "predict", "prepare"]
    assert set(completed(main, "aftersound list ", monkeypatch)) == {*REGISTRIES, "front-ends"}


def test_shells_complete_clips_of_the_cache_on_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = write_small_cache(tmp_path / "a.zarr")
    ids = [clip.id for clip in clips()]
    line = f"inspect-cache {cache} --clip {ids[0]}"
    assert ids[0] in completed(inspect_cache, line, monkeypatch)
    assert completed(inspect_cache, f"inspect-cache {cache} --clip no-such", monkeypatch) == []
    assert completed(inspect_cache, f"inspect-cache {tmp_path} --clip x", monkeypatch) == []


def test_shells_get_no_id_with_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [
        replace(clip, id=f"x{n}" + "\x1b]0;t\x07\nplain,y" * (n % 2))
        for n, clip in enumerate(clips())
    ]
    cache = write_small_cache(tmp_path / "a.zarr", named)
    found = completed(inspect_cache, f"inspect-cache {cache} --clip x", monkeypatch)
    assert found == [f"x{n}" for n in range(0, len(named), 2)]
