"""Pictures of a report: what an earlier one has drawn goes, and nothing else does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from bokeh.plotting import figure

from cache_schema.errors import UsageError
from cache_schema.inspection.plot import plot_chart
from cache_schema.report.charts.base import Chart, Static
from cache_schema.report.pictures import DRAWN, check_pictures, write_pictures


def charts(*names: str) -> dict[str, Chart]:
    return {
        name: Chart(figure(), static=Static(lambda axis: axis.plot([1, 2]), 1.0)) for name in names
    }


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_pictures_of_an_earlier_report_do_not_stay_beside_the_new_ones(tmp_path: Path) -> None:
    folder = tmp_path / "png"
    assert write_pictures(folder, charts("scores", "gains"), {}) == 2
    (folder / "mine.png").write_bytes(b"not drawn by a report")
    check_pictures(folder, "report-run", tmp_path / "page.html")
    assert write_pictures(folder, charts("scores", "curves"), {}) == 2
    assert names(folder) == {"scores.png", "curves.png", "mine.png", DRAWN}
    assert (folder / DRAWN).read_text() == "curves.png\nscores.png\n"


def test_a_picture_of_a_users_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "png"
    write_pictures(folder, charts("gains"), {})
    (folder / "scores.png").write_bytes(b"not drawn by a report")
    (folder / "curves.png").symlink_to(folder / "gains.png")
    with pytest.raises(UsageError, match=r"curves\.png, .*scores\.png: there already") as refused:
        write_pictures(folder, charts("scores", "curves"), {})
    assert "gains" not in str(refused.value)
    assert (folder / "scores.png").read_bytes() == b"not drawn by a report"
    assert (folder / DRAWN).read_text() == "gains.png\n"


@pytest.mark.parametrize("drawn", [("scores", "gains"), ("gains",)])
def test_a_picture_that_somebody_has_altered_is_kept(
    tmp_path: Path, drawn: tuple[str, ...]
) -> None:
    folder = tmp_path / "png"
    write_pictures(folder, charts("scores", "gains"), {})
    (folder / "scores.png").write_bytes(b"retouched")
    if "scores" in drawn:
        with pytest.raises(UsageError, match="not drawn by a report"):
            write_pictures(folder, charts(*drawn), {})
    else:
        write_pictures(folder, charts(*drawn), {})
    assert (folder / "scores.png").read_bytes() == b"retouched"


def test_a_list_that_was_altered_removes_nothing_else(tmp_path: Path) -> None:
    folder, kept = tmp_path / "png", ["../out.png", "notes.txt", "sub/a.png"]
    folder.joinpath("sub").mkdir(parents=True)
    for name in kept:
        (folder / name).write_text("kept")
    (folder / DRAWN).write_text("\n".join([*kept, str(tmp_path / "out.png"), "..", "gone.png", ""]))
    write_pictures(folder, charts("scores"), {})
    assert all((folder / name).read_text() == "kept" for name in kept)


def test_what_a_killed_report_has_drawn_goes_with_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "png"

    def killed(_: Any) -> None:
        raise KeyboardInterrupt

    begun = charts("gains") | {"last": Chart(figure(), static=Static(killed))}
    try:
        write_pictures(folder, begun, {})
    except KeyboardInterrupt:
        assert (folder / "gains.png").exists()
    write_pictures(folder, charts("scores"), {})
    assert names(folder) == {"scores.png", DRAWN}


def test_drafts_of_a_killed_report_go_with_the_next(tmp_path: Path) -> None:
    for name in ("a.png.555-140.partial", "mine.png.555-140.partial", "a.png.partial"):
        (tmp_path / name).write_bytes(b"half")
    write_pictures(tmp_path, charts("a"), {})
    kept = {"mine.png.555-140.partial", "a.png.partial"}
    assert names(tmp_path) == {"a.png", DRAWN, *kept}


def test_characters_that_the_font_lacks_are_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(axis: Any) -> None:
        axis.set_title("\u97f3 \u97f3\u58f0 yes")

    plot_chart(draw, 1.0, tmp_path / "x.png")
    message = capsys.readouterr().err
    assert message.startswith(
        f"warning: {tmp_path / 'x.png'}: matplotlib's font has no \u58f0\u97f3,"
    )
    assert len(message.splitlines()) == 1
    assert "matplotlibrc" in message
    plot_chart(lambda axis: axis.set_title("yes"), 1.0, tmp_path / "y.png")
    assert capsys.readouterr().err == ""


def test_other_warnings_of_a_drawing_are_shown(tmp_path: Path) -> None:
    def draw(axis: Any) -> None:
        axis.figure.savefig = lambda *_, **__: warnings.warn("another", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="another"):
        plot_chart(draw, 1.0, tmp_path / "x.png")


def test_the_page_and_its_pictures_are_in_two_places(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"both to be .*a\.html; name a folder"):
        check_pictures(tmp_path / "a.html", "report-run", tmp_path / "a.html")
