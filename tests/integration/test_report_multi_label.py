"""A page of a multi-label run: what takes the place of confusions, groups, and the same as pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from click.testing import CliRunner, Result
from commands import CLASSES, command, succeeded, write_tones
from report_page import Page

from student.report import cli
from student.training import cli as train_cli


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A multi-label cache with groups, and a distilled run of one epoch on it."""
    folder = tmp_path_factory.mktemp("tagged")
    corpus, cache, run = write_tones(folder / "corpus"), folder / "tones.zarr", folder / "run"
    lines = ["path,labels,split,place"]
    for number, path in enumerate(sorted(corpus.rglob("*.flac"))):
        own = path.relative_to(corpus)
        labels = {own.parts[1], sorted(CLASSES)[number % 3]}
        lines.append(f"{own},{';'.join(sorted(labels))},{own.parts[0]},place {number % 2}")
    (corpus / "clips.csv").write_text("\n".join(lines), encoding="utf-8")
    source = f"csv:{corpus}/clips.csv?group=place"
    output = succeeded(command("precompute-teacher", source, "--teacher", "toy", "--out", cache))
    assert "2 of the 2 groups in test are in train too (place 0, place 1)" in " ".join(
        output.split()
    )
    words = [cache, "--student", "tc-resnet", "--out", run, "--epochs", "1", "--batch-size", "8"]
    words += ["--learning-rate", "1e-6", "--distill", "logits=0.5"]
    trained = CliRunner().invoke(train_cli.main, [*map(str, words)])
    assert trained.exit_code == 0, trained.output
    return cache, run


def report(made: tuple[Path, Path], *words: object) -> Result:
    cache, run = made
    return CliRunner().invoke(cli.main, [str(run), "--cache", str(cache), *map(str, words)])


@pytest.fixture(scope="module")
def page(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    done = report(made, "--out", out, "--png", out.parent / "pictures")
    assert done.exit_code == 0, done.output
    assert f"pictures in {out.parent / 'pictures'}" in done.stdout
    return out


def test_labels_are_judged_one_by_one(page: Path) -> None:
    text = " ".join(Page(page).text.split())
    for words in (
        "Average precision of the class,",
        "Is one half the right threshold?",
        "Threshold and calibration of every label",
        "label by label",
        "Each class of each clip counts.",
        "By chance (clips ranked at random) it would be",
        "Clips with a class missed or wrongly added",
    ):
        assert words in text, words
    assert "What is taken for what" not in text
    assert "missed: " in text


def test_groups_are_scored_one_by_one(page: Path) -> None:
    text = " ".join(Page(page).text.split())
    assert "Speakers, sessions or places" in text
    assert "over 2 groups, standard deviation" in text
    assert "2 of the 2 groups in test are in train too" in text
    assert "groups: 2 in train, 2 in validation, 2 in test" in text


def test_every_chart_and_clip_is_a_picture_too(page: Path) -> None:
    found = {path.stem: path.read_bytes() for path in (page.parent / "pictures").glob("*.png")}
    assert {
        "classes",
        "reliability",
        "thresholds",
        "label_reliability",
        "by_group",
        "metric",
    } <= set(found)
    assert sum(name.startswith("clip_") for name in found) == Page(page).count("article") > 2
    assert all(data.startswith(b"\x89PNG\r\n") for data in found.values())
    assert page.parent.joinpath("pictures").is_dir()


def test_pictures_do_not_go_where_other_things_are(made: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/a.txt").write_text("mine")
    refused = report(made, "--out", tmp_path / "r.html", "--png", tmp_path / "letters")
    assert refused.exit_code == 2
    assert "is not empty and is no folder of pictures" in refused.stderr
    assert refused.stderr.endswith("Choose another --png\n")
    refused = report(made, "--out", tmp_path / "r.html", "--png", made[1] / "png")
    assert refused.exit_code == 2
    assert "lies in, the run" in refused.stderr
    assert not (tmp_path / "r.html").exists()


def test_without_matplotlib_nothing_is_begun(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    refused = report(made, "--out", tmp_path / "r.html", "--png", tmp_path / "png")
    assert refused.exit_code == 2
    assert "pictures need matplotlib: pip install 'aftersound[plot]'" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_a_phone_shows_it_without_scrolling_sideways(page: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile", tmp_path / "none.wav") as browser:
        browser.open(page.as_uri())
        browser.wait("document.querySelectorAll('.bk-Figure').length > 8")
        browser.screenshot(tmp_path / "phone.png", 390, 800)
        assert browser.run("document.documentElement.scrollWidth") == 390
        assert browser.complaints == []
