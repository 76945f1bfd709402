"""CONTRIBUTING's package is installed from the page; its plug-ins of all kinds work in the commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from commands import command, forking_python, plain_environment, succeeded
from exported_students import write_run
from pages import PAGES

from cache_schema.reader import open_cache

GROUPS = ("students", "losses", "metrics", "corpora", "teachers", "views", "exporters")
NAMES = (
    "acme-mlp", "acme-mse", "acme-top2", "acme-named", "acme-loudness", "acme-flip", "acme-pt2",
)  # fmt: skip


def page_files() -> dict[str, str]:
    """The files that CONTRIBUTING shows, by the path in each one's first line."""
    blocks = re.findall(
        r"```(?:toml|python)\n# (\S+)\n(.*?)```", PAGES["CONTRIBUTING.md"], re.DOTALL
    )
    return dict(blocks)


def install(folder: Path, version: str = "1.0", name: str = "acme-audio") -> Path:
    """Lay the package out as an installer would, with its metadata, into a folder for PYTHONPATH."""
    files = page_files()
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        # A line of its own for whoever imports it.
        note = f"import os\nprint({path!r}, file=open(os.environ['ACME_LOG'], 'a'))\n"
        (folder / path).write_text(note + text if path.startswith("acme_audio/") else text)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = []
    for group, entries in project["entry-points"].items():
        points += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(points) + "\n")
    return folder


def acme(site: Path, name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a command where the package is installed."""
    return command(name, *words, PYTHONPATH=str(site), ACME_LOG=str(site / "imported"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def made(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache and a run, made with all that they take."""
    work = tmp_path_factory.mktemp("work")
    names = {"__name__": "example"}
    exec(page_files()["test_acme_audio.py"].partition("@pytest")[0], names)
    code = page_files()["test_acme_audio.py"]
    exec("def write_corpus" + code.partition("def write_corpus")[2].partition("\n\n\n")[0], names)
    text = names["write_corpus"](work / "sounds")  # type: ignore[operator]
    succeeded(
        acme(site, "precompute-teacher", text, "--teacher", "acme-loudness", "--view", "acme-flip",
             "--views", 2, "--signal", "mfcc40", "--out", work / "acme.zarr")
    )  # fmt: skip
    succeeded(train(site, work))
    return work


def train(site: Path, work: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return acme(
        site, "train-student", work / "acme.zarr", "--student", "acme-mlp", "--distill",
        "acme-mse=0.5", "--metric", "acme-top2", "--epochs", 2, "--out", work / "run", *more,
    )  # fmt: skip


def test_the_page_has_every_kind() -> None:
    points = tomllib.loads(page_files()["pyproject.toml"])["project"]["entry-points"]
    assert set(points) == {f"aftersound.{group}" for group in GROUPS}
    assert tuple(name for entries in points.values() for name in entries) == NAMES


def test_its_own_tests_pass(site: Path) -> None:
    run = subprocess.run(
        [forking_python(), "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull,
         "test_acme_audio.py"],
        cwd=site, capture_output=True, text=True, check=False, timeout=500,
        env=plain_environment() | {"PYTHONPATH": str(site), "ACME_LOG": str(site / "tested")},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout


def test_help_names_them_and_imports_nothing(site: Path, tmp_path: Path) -> None:
    log = {"PYTHONPATH": str(site), "ACME_LOG": str(tmp_path / "imported")}
    training = succeeded(command("train-student", "--help", **log))
    computing = succeeded(command("precompute-teacher", "--help", **log))
    assert [n for n in ("acme-mlp", "acme-mse", "acme-top2") if n not in training] == []
    assert "acme-flip" in computing
    assert not (tmp_path / "imported").exists()


def test_errors_name_them(site: Path, tmp_path: Path) -> None:
    wrong = acme(
        site, "train-student", tmp_path, "--student", "acme-mpl", "--out", tmp_path / "run"
    )
    assert wrong.returncode == 2
    assert "Did you mean 'acme-mlp'?" in wrong.stderr
    wrong = acme(site, "precompute-teacher", f"acme-nmaed:{tmp_path}", "--teacher", "toy",
                 "--out", tmp_path / "out.zarr")  # fmt: skip
    assert wrong.returncode == 2
    assert "Did you mean 'acme-named'?" in wrong.stderr


def test_the_cache_records_them(made: Path) -> None:
    plan = open_cache(made / "acme.zarr").parts[0].plan
    assert plan.teacher is not None
    assert plan.teacher["plugin"] == "acme-audio 1.0"
    assert plan.audio["corpus_plugin"] == "acme-audio 1.0"
    assert json.loads(plan.view_recipe[0])["plugin"] == "acme-audio 1.0"


def test_the_run_records_them_and_is_scored(site: Path, made: Path) -> None:
    config = json.loads((made / "run/config.json").read_text())
    assert config["plugins"] == {
        "student acme-mlp": "acme-audio 1.0",
        "loss acme-mse": "acme-audio 1.0",
        "metric acme-top2": "acme-audio 1.0",
    }
    report = succeeded(acme(site, "evaluate-student", made / "run", made / "acme.zarr", "--report"))
    assert "acme-top2" in report
    compared = acme(
        site, "compare-students", made / "acme.zarr", "--student", "acme-mlp", "--condition", "none",
        "--condition", "acme-mse=0.5", "--seeds", 1, "--train", "--epochs 1", "--out", made / "compared",
    )  # fmt: skip
    assert "acme-mse" in succeeded(compared)


def test_a_run_is_exported_by_the_packages_exporter(site: Path, tmp_path: Path) -> None:
    run, out = write_run(tmp_path / "run", "ds-tc-resnet"), tmp_path / "device"
    succeeded(
        acme(site, "export-student", run, "--to", "acme-pt2", "--length-s", 0.5, "--out", out)
    )
    card = json.loads((out / "card.json").read_text())
    assert set(card["files"]) == {"model.pt2", "test_vectors.npz"}
    refused = acme(
        site,
        "export-student",
        run,
        "--to",
        "acme-pt2",
        "--length-s",
        "any",
        "--out",
        tmp_path / "other",
    )
    assert refused.returncode == 2
    assert "its shapes are fixed. Choose a length: --length-s 1" in refused.stderr


def test_another_version_is_another_cache_and_run(made: Path, tmp_path: Path) -> None:
    newer = install(tmp_path, "1.1")
    again = acme(newer, "precompute-teacher", f"acme-named:{made / 'sounds'}", "--teacher",
                 "acme-loudness", "--view", "acme-flip", "--views", 2, "--signal", "mfcc40",
                 "--out", made / "acme.zarr")  # fmt: skip
    assert again.returncode == 3
    for fact in ("teacher.plugin", "audio.corpus_plugin", "acme-audio 1.0", "acme-audio 1.1"):
        assert fact in again.stderr
    changed = train(newer, made, "--epochs", 3)
    assert changed.returncode != 0
    assert "the run has acme-audio 1.0, requested acme-audio 1.1" in changed.stderr


def test_without_the_package_its_names_are_unknown(made: Path) -> None:
    gone = command("evaluate-student", made / "run", made / "acme.zarr")
    assert gone.returncode == 1
    assert "unknown student 'acme-mlp'; known: tc-resnet" in gone.stderr
    assert "Traceback" not in gone.stderr


def test_no_document_names_an_import(site: Path, made: Path, tmp_path: Path) -> None:
    """A stranger's run whose student is a module: looked up among names, never imported."""
    run = tmp_path / "run"
    run.mkdir()
    for file in (made / "run").iterdir():
        if file.is_file():
            (run / file.name).write_bytes(file.read_bytes())
    config = json.loads((run / "config.json").read_text())
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    for name in ("evil:Student", "acme_audio.students:FrameMLP"):
        (run / "config.json").write_text(json.dumps({**config, "student": name}))
        paths = {"PYTHONPATH": f"{site}{os.pathsep}{tmp_path}", "ACME_LOG": str(tmp_path / "log")}
        found = command("evaluate-student", run, made / "acme.zarr", **paths)
        assert found.returncode != 0
        assert "imported" not in found.stderr
        assert not (tmp_path / "log").exists()


def test_a_name_that_two_distributions_install_is_an_error(tmp_path: Path) -> None:
    both = install(tmp_path)
    install(tmp_path, "0.2", "other-audio")
    wrong = acme(
        both, "train-student", tmp_path, "--student", "acme-mlp", "--out", tmp_path / "run"
    )
    assert wrong.returncode == 2
    assert "acme-audio 1.0 and by other-audio 0.2" in wrong.stderr


def test_one_that_cannot_be_imported_is_reported_with_its_distribution(
    made: Path, tmp_path: Path
) -> None:
    broken = install(tmp_path)
    (broken / "acme_audio/students.py").unlink()
    wrong = acme(
        broken,
        "train-student",
        made / "acme.zarr",
        "--student",
        "acme-mlp",
        "--out",
        tmp_path / "r",
    )
    assert wrong.returncode == 2
    assert "student 'acme-mlp' of acme-audio 1.0 cannot be imported" in wrong.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("acme-named:CORPUS", "--teacher", "toy", "--view", "gain"),
        ("folder:CORPUS?labels=none", "--teacher", "acme-loudness", "--view", "gain"),
    ],
)
def test_a_cache_names_what_it_was_made_with_where_that_is_missing(
    made: Path, words: tuple[str, ...]
) -> None:
    (cache,) = made.glob("*.zarr")
    named = [word.replace("CORPUS", str(made / "sounds")) for word in words]
    found = command("precompute-teacher", *named, "--out", cache, "--repair")
    assert found.returncode == 2
    assert f"{cache} was made with acme-audio 1.0: install what is missing here" in found.stderr
