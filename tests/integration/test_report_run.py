"""A page of runs: what it reports, that it is safe to open, and what is rejected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from click.testing import CliRunner, Result
from commands import command, succeeded, write_tones
from report_page import Page

from cache_schema.reader import open_cache
from student.evaluation import cli as evaluate_cli
from student.evaluation.attention_curves import clip_curves
from student.report import cli
from student.runs.predict import read_config, run_predictions
from student.training import cli as train_cli

HOSTILE = {
    "low": "<script>document.title='taken'</script>",
    "middle": "</script><img src=x onerror=document.title='taken'>",
    "high": "$$x$$ {{ 7 * 7 }}\u202e",
}
LEARNED = "logits=0.5"


def train(cache: Path, run: Path, *words: str) -> Path:
    """A training of one epoch."""
    base = [cache, "--student", "tc-resnet", "--out", run, "--epochs", "1", "--batch-size", "8"]
    base += ["--learning-rate", "1e-6"]  # so that some answers are wrong
    done = CliRunner().invoke(train_cli.main, [*map(str, base), *words])
    assert done.exit_code == 0, done.output
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A cache whose classes and ids are an attacker's, and three runs on it."""
    folder = tmp_path_factory.mktemp("reported")
    corpus, cache = write_tones(folder / "corpus"), folder / "tones.zarr"
    lines = [
        {
            "path": str(path.relative_to(corpus)),
            "id": f"</script><b>{path.relative_to(corpus)}",
            "label": HOSTILE[path.parent.name],
            "split": path.relative_to(corpus).parts[0],
        }
        for path in sorted(corpus.rglob("*.flac"))
    ]
    listed = corpus / "clips.jsonl"
    listed.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    succeeded(command("precompute-teacher", f"jsonl:{listed}", "--teacher", "toy", "--out", cache))
    distill = ("--distill", LEARNED)
    runs = [
        train(cache, folder / "distilled-0", *distill),
        train(cache, folder / "distilled-1", *distill, "--seed", "1"),
        train(cache, folder / "alone-0"),
    ]
    return cache, runs


def report(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [*map(str, words)])


@pytest.fixture(scope="module")
def page(made: tuple[Path, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache, runs = made
    out = tmp_path_factory.mktemp("page") / "report.html"
    done = report(*runs, "--cache", cache, "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{out}: ")
    return out


def test_the_page_begins_with_the_answer(page: Path, made: tuple[Path, list[Path]]) -> None:
    _, runs = made
    found = Page(page)
    scores = [json.loads((run / "result.json").read_text())["splits"]["test"] for run in runs]
    mean = 50 * (scores[0]["score"] + scores[1]["score"])
    text = " ".join(found.text.split())
    start = text.index(f"{mean:.1f} %")
    assert start < text.index(f"{100 * scores[2]['score']:.1f} %", start)
    assert start < text.index(f"{100 * scores[0]['teacher_score']:.1f} %", start)
    assert "no interval, from fewer than three pairs of runs" in text
    for heading in ("How it learned", "Classes", "Most wrong", "What it costs", "How it was made"):
        assert heading in text, heading
    assert "Expected calibration error (ECE, 15 bins): distilled" in text
    command_of = f"train-student {made[0]} --student tc-resnet --out {runs[0]}"
    assert command_of in text
    assert text.endswith(f"--cache {made[0]} --out {page}")


def test_each_clip_has_its_label_answers_and_sound(page: Path) -> None:
    found = Page(page)
    players = [a for tag, a in found.tags if tag == "audio"]
    articles = [a for tag, a in found.tags if tag == "article"]
    assert len(players) == len(articles) > 2
    assert all(str(a["src"]).startswith("data:audio/wav;base64,UklGR") for a in players)
    for who in ("label", "distilled", "undistilled", "teacher"):
        assert found.text.count(f"{who}") >= len(articles), who


def test_text_from_outside_is_text_on_the_page(page: Path) -> None:
    found = Page(page)
    assert found.count("script") == 3
    assert found.count("img") == 0
    assert not any(name.startswith("on") for _, a in found.tags for name in a)
    assert HOSTILE["low"] in found.text
    assert "</script><b>test/" in found.text
    assert "{{ 7 * 7 }}\\u202e" in found.text
    assert "\u202e" not in page.read_text(encoding="utf-8")


def test_nothing_on_the_page_is_elsewhere(page: Path) -> None:
    found = Page(page)
    assert all(address.startswith("data:") for address in found.addresses())
    assert "url(" not in page.read_text(encoding="utf-8").split("</style>")[0]
    (policy,) = [str(a["content"]) for tag, a in found.tags
                 if a.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_a_browser_draws_it_without_a_request_or_a_complaint(page: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile", tmp_path / "none.wav") as browser:
        browser.open(page.as_uri())
        browser.wait("Bokeh.documents.length > 0")
        browser.wait("document.querySelectorAll('.bk-Figure').length > 8")
        assert browser.run("document.title") == "What tc-resnet learned"
        shot = tmp_path / "phone.png"
        browser.screenshot(shot, 390, 800, dark=True)
        assert browser.run("document.documentElement.scrollWidth") == 390
        assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        outside = [one for one in browser.requested if not one.startswith("data:")]
        assert outside == [page.as_uri()]
        assert browser.complaints == []
        hidden = (
            "(() => { const entry = document.querySelector('.legend button'); entry.click();"
            " return entry.dataset.models.split(' ').map((id) =>"
            " Bokeh.documents[0].get_model_by_id(id).visible); })()"
        )
        assert set(browser.run(hidden)) == {False}


def test_the_log_has_the_label_loss_on_validation(
    made: tuple[Path, list[Path]], page: Path
) -> None:
    cache, runs = made
    (entry,) = [json.loads(line) for line in (runs[2] / "metrics.jsonl").read_text().splitlines()]
    found = run_predictions(runs[2], read_config(runs[2]), open_cache(cache), "validation")
    assert entry["validation_loss"] == pytest.approx(found.losses().mean(), rel=1e-5)
    assert "undistilled, validation" in Page(page).text


def test_a_drawn_clip_is_titled_by_its_label_and_all_answers(
    made: tuple[Path, list[Path]],
) -> None:
    cache, runs = made
    clip = "</script><b>test/high/0.flac"
    (found,) = clip_curves([runs[0], runs[2]], open_cache(cache), "test", [clip])
    lines = found.title.split("\n")
    assert lines[0] == f"{clip}  ({HOSTILE['high']})"
    starts = [line.partition(": ")[0] for line in lines[1:]]
    assert starts == ["teacher", "distilled", "undistilled"]
    assert all(line.endswith(" %") for line in lines[1:])


def test_a_run_alone_reports_that_its_twin_is_missing(
    made: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    done = report(made[1][0], "--out", tmp_path / "one.html")
    assert done.exit_code == 0, done.output
    found = Page(tmp_path / "one.html")
    assert "No undistilled twin is among the runs" in found.text
    assert "Classes, calibration and clips need the cache" in found.text
    assert found.count("audio") == 0


def test_runs_of_other_classes_or_corpora_are_rejected_with_both(
    made: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    cache, runs = made
    other = Path(shutil.copytree(runs[2], tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    config |= {"corpus_fingerprint": "f" * 64}
    (other / "config.json").write_text(json.dumps(config))
    refused = report(runs[0], other, "--out", tmp_path / "r.html")
    assert refused.exit_code == 2
    own = json.loads((runs[0] / "config.json").read_text())["corpus_fingerprint"]
    assert f"corpus_fingerprint: {runs[0]} has {own}, {other} has {'f' * 64}" in refused.stderr
    refused = report(other, "--cache", cache, "--out", tmp_path / "r.html")
    assert refused.exit_code == 2
    assert f"  - run: {'f' * 64}\n  - cache: {own}" in refused.stderr
    refused = report(runs[0], runs[0], "--out", tmp_path / "r.html")
    assert refused.exit_code == 2
    assert (
        f"1 run(s) are given twice\n  - {runs[0]} and {runs[0]}: {LEARNED}, seed 0"
        in refused.stderr
    )
    twin = Path(shutil.copytree(runs[0], tmp_path / "twin"))
    config = json.loads((twin / "config.json").read_text()) | {"cache_sha256": "e" * 64}
    (twin / "config.json").write_text(json.dumps(config))
    refused = report(runs[0], twin, "--out", tmp_path / "r.html")
    assert refused.exit_code == 2
    assert (
        f"differ in their cache alone\n  - {runs[0]} and {twin}: {LEARNED}, seed 0"
        in refused.stderr
    )
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("result.json", None, "is not finished (no result.json)"),
        ("result.json", '{"metric": 3}', "damaged, or another version wrote it"),
        ("metrics.jsonl", '{"epoch": "one"}\n', "damaged, or another version wrote it"),
        ("metrics.jsonl", "{", "is not JSON"),
        ("model.safetensors", "no weights", "does not hold the weights"),
    ],
)
def test_an_unfinished_or_damaged_run_is_rejected(
    made: tuple[Path, list[Path]], tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    run = Path(shutil.copytree(made[1][2], tmp_path / "run"))
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    refused = report(run, "--out", tmp_path / "r.html")
    assert refused.exit_code == 1
    assert message in refused.stderr
    assert not (tmp_path / "r.html").exists()


def test_a_run_before_its_first_epoch_has_no_student_yet(
    made: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(made[1][2], tmp_path / "run"))
    for name in ("model.safetensors", "training-state.pt", "result.json"):
        (run / name).unlink(missing_ok=True)
    refused = CliRunner().invoke(evaluate_cli.main, [str(run), str(made[0])])
    assert refused.exit_code == 1
    assert "has no student yet: no epoch of its training has ended. Wait for" in refused.stderr


def test_the_page_is_not_written_into_a_run_or_a_cache(
    made: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    cache, runs = made
    for place, message in (
        (runs[0] / "r.html", "lies in, the run"),
        (cache / "r.html", "lies in, the cache"),
        (tmp_path / "r.pdf", "known: .html, .htm"),
    ):
        refused = report(runs[0], "--out", place)
        assert refused.exit_code == 2
        assert message in refused.stderr
        assert not place.exists()


def test_without_the_extra_one_line_names_it(
    made: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache_schema.report.extra.find_spec", lambda name: None)
    refused = report(made[1][0], "--out", tmp_path / "r.html")
    assert refused.exit_code == 2
    expected = "report-run: report-run needs bokeh and jinja2: pip install 'aftersound[report]'\n"
    assert refused.stderr == expected
