"""The page of a cache: with the base install and the extra [report] alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from report_page import Page
from small_cache import compute, copy_small_cache, first_plan, lay_out

from cache_schema.errors import UsageError
from cache_schema.inspection import cli
from cache_schema.reader import open_cache
from cache_schema.report.cache_clips import worst_clips
from cache_schema.report.extra import require_report


def inspect(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [*map(str, words)])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_small_cache(tmp_path_factory.mktemp("paged") / "small.zarr")


def test_the_page_has_what_is_in_the_cache(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache.html"
    done = inspect(cache, "--report", out, "--clip", "clip-1")
    assert done.exit_code == 0, done.output
    found = Page(out)
    text = " ".join(found.text.split())
    for message in (
        "What is in small.zarr",
        "train 4, test 2; 2 view(s)",
        "small (toy)",
        "waveform",
    ):
        assert message in text, message
    assert text.index("clip-1") < text.index("clip-5")
    assert found.count("audio") == found.count("article") == 2
    assert text.endswith(f"inspect-cache {cache} --report {out} --clip clip-1")
    assert all(address.startswith("data:") for address in found.addresses())
    assert done.stdout.splitlines()[-1] == f"report: {out}"


def test_a_user_without_a_home_folder_is_said_what_to_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UsageError, match=r"--report needs a home folder, .*export HOME=/tmp"):
        require_report("--report")


def test_clips_that_the_teacher_takes_for_something_else_come_first(cache: Path) -> None:
    opened = open_cache(cache)
    assert worst_clips(opened, 9) == [5]  # the other clip of test is quarantined


def test_a_drawn_clip_is_titled_by_its_label_and_the_teachers_answer(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    titles, ticks = list[str](), list[list[str]]()
    monkeypatch.setattr(Axes, "set_title", lambda self, text, **_: titles.append(text))
    plain = Axes.set_yticks

    def noted(self: Axes, places: list[float], names: list[str]) -> object:
        ticks.append(names)
        return plain(self, places, names)

    monkeypatch.setattr(Axes, "set_yticks", noted)
    assert inspect(cache, "--clip", "clip-5", "--plot", tmp_path / "c.png").exit_code == 0
    (title,) = titles
    assert title.startswith("clip-5  (yes, test, view 0)\nteacher: ")
    assert title.endswith(" %")
    assert ticks[0][0] == "100"  # Hz; the cache's rate is 1000 Hz
    assert max(int(name) for name in ticks[0]) <= 500


def test_its_charts_and_clips_are_pictures_too(cache: Path, tmp_path: Path) -> None:
    out, png = tmp_path / "cache.html", tmp_path / "png"
    done = inspect(cache, "--report", out, "--png", png, "--clip", "clip-1")
    assert done.exit_code == 0, done.output
    drawn = {file.name for file in png.glob("*.png")}
    assert drawn == {"classes.png", "clip1.png", "clip5.png"}
    assert done.stdout.splitlines()[-1] == f"pictures: 3 in {png}"
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in png.glob("*.png"))
    assert f"--png {png}" in Page(out).text
    refused = inspect(cache, "--png", png)
    assert refused.exit_code == 2
    assert "--png belongs to --report FILE.html" in refused.output


def test_an_unfinished_cache_has_no_page(tmp_path: Path) -> None:
    lay_out(tmp_path / "begun.zarr")
    refused = inspect(tmp_path / "begun.zarr", "--report", tmp_path / "r.html")
    assert refused.exit_code == 3
    assert not (tmp_path / "r.html").exists()
    compute(tmp_path / "begun.zarr", first_plan())
    assert inspect(tmp_path / "begun.zarr", "--report", tmp_path / "r.html").exit_code == 0


def test_it_needs_neither_torch_nor_matplotlib(cache: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ['torch', 'matplotlib', 'transformers', 'dask']: sys.modules[name] = None\n"
        "from cache_schema.inspection.cli import main\n"
        f"main([{str(cache)!r}, '--report', {str(tmp_path / 'r.html')!r}])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "r.html").is_file()


def test_without_the_extra_one_line_names_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache_schema.report.extra.find_spec", lambda name: None)
    refused = inspect(cache, "--report", tmp_path / "r.html")
    assert refused.exit_code == 2
    assert refused.stderr == (
        "inspect-cache: --report needs bokeh and jinja2: pip install 'aftersound[report]'\n"
    )
