"""Where commands write: on a local disk, and inside nothing that must stay as it is."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cache_schema.command_line.command import Command
from cache_schema.inspection.plot import plot_chart
from cache_schema.paths import PICTURES, LocalPath, OutputFile, OutputPath


@click.command(cls=Command, name="write")
@click.argument("place", type=LocalPath())
@click.option("--out", type=OutputPath(own="run"))
@click.option("--plot", type=OutputFile(PICTURES))
@click.option("--made", type=OutputPath(moved_there=True))
@click.option("--log", type=OutputPath(dir_okay=False))
def write(**_places: Path | None) -> None:
    click.echo("it ran")


def refusal(*words: object) -> str:
    result = CliRunner().invoke(write, [str(word) for word in words])
    assert result.exit_code == 2, result.output
    assert "it ran" not in result.output
    return " ".join(result.output.replace("│", "").split())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "a.zarr/parts/part-000").mkdir(parents=True)
    (tmp_path / "a.zarr/manifest.json").touch()
    return tmp_path / "a.zarr"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    for name in ("config.json", "training-state.pt"):
        (tmp_path / "run" / name).touch()
    return tmp_path / "run"


@pytest.mark.parametrize(
    "address",
    ["s3://a/b", "gs://a", "http://a/b", "https://a", "file:///a", "abfs+x://c", "S3://A"],
)
@pytest.mark.parametrize("words", [(), ("here", "--out"), ("here", "--plot")], ids=str)
def test_an_address_is_no_path(words: tuple[str, ...], address: str) -> None:
    assert "is an address, and only caches and corpora lie at one; name a local path" in refusal(
        *words, address
    )


@pytest.mark.parametrize("words", [(), ("here", "--out"), ("here", "--plot")], ids=str)
@pytest.mark.parametrize("place", ["circle", "circle/in/it.png", "nothing"])
def test_a_link_to_nothing_is_not_taken_for_a_missing_file(
    tmp_path: Path, words: tuple[str, ...], place: str
) -> None:
    (tmp_path / "circle").symlink_to("back")
    (tmp_path / "back").symlink_to("circle")
    (tmp_path / "nothing").symlink_to("unmounted")
    message = refusal(*words, tmp_path / place)
    what = "is a link to 'unmounted', which does not exist"
    if place != "nothing":
        what = "leads through links in a circle"
    assert f"{what}; name the place itself" in message


@pytest.mark.parametrize("text", ["s3:/bucket/x", "gs:bucket/x", "https:/host/x", "file:/x"])
def test_an_address_without_a_slash_is_no_folder(text: str) -> None:
    scheme, _, rest = text.partition(":")
    assert f"an address is {scheme}://{rest.lstrip('/')}, a local path ./{text}" in refusal(text)


@pytest.mark.parametrize("words", [("",), ("here", "--out", ""), ("here", "--plot", "")], ids=str)
def test_an_empty_path_is_none(words: tuple[str, ...]) -> None:
    assert "it is empty" in refusal(*words)


def test_a_colon_makes_no_address(tmp_path: Path) -> None:
    for path in (tmp_path / "a:b", "./c:/d", "a:b//c"):  # c:/d is a drive of Windows
        assert CliRunner().invoke(write, [str(path), "--out", str(path)]).exit_code == 0


def test_nothing_is_written_into_a_cache(cache: Path) -> None:
    for option, name in (("--out", "x"), ("--out", "parts/part-000/x"), ("--plot", "x.png")):
        assert f"lies in, the cache {cache}" in refusal("here", option, cache / name)
    assert "the cache" in refusal("here", "--out", cache)
    (cache.parent / "link").symlink_to(cache / "parts")
    assert "the cache" in refusal("here", "--out", cache.parent / "link/x")


def test_nothing_is_written_into_a_run_but_the_run_itself(run: Path) -> None:
    assert f"the run {run}" in refusal("here", "--out", run / "inner/x")
    assert f"the run {run}" in refusal("here", "--plot", run / "x.png")
    assert CliRunner().invoke(write, ["here", "--out", str(run)]).exit_code == 0


@pytest.mark.parametrize("name", ["x", "x.", "x.xyz", "x.png.gz", ".png", "x.jpg"])
def test_a_picture_has_a_format_that_can_be_drawn(tmp_path: Path, name: str) -> None:
    assert "known: .png, .pdf, .svg" in refusal("here", "--plot", tmp_path / name)


@pytest.mark.parametrize("name", ["x.png", "x.PNG", "a.b.pdf", "x.svg"])
def test_the_formats_of_pictures(tmp_path: Path, name: str) -> None:
    assert CliRunner().invoke(write, ["here", "--plot", str(tmp_path / name)]).exit_code == 0


def test_a_file_of_another_origin_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(b"\x89PNG of a camera")
    assert "was not written by this command; name another file" in refusal("here", "--plot", file)
    for ours in (b"", b"\x89PNG" + 99 * b"\0" + b"tEXtSoftware\0Matplotlib version3"):
        file.write_bytes(ours)
        assert CliRunner().invoke(write, ["here", "--plot", str(file)]).exit_code == 0


def test_a_picture_that_was_drawn_is_replaced(tmp_path: Path) -> None:
    for suffix in PICTURES:
        file = tmp_path / f"x{suffix}"
        plot_chart(lambda axes: axes.plot([1, 2]), 1.0, file)
        assert b"Type3" not in file.read_bytes(), "which journals refuse"
        assert CliRunner().invoke(write, ["here", "--plot", str(file)]).exit_code == 0


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    (tmp_path / "phone").mkdir()
    for name in ("card.json", "test_vectors.npz", "model.onnx"):
        (tmp_path / "phone" / name).touch()
    return tmp_path / "phone"


def test_nothing_is_written_into_a_teacher_of_ours(tmp_path: Path) -> None:
    """A training is repeated after its folder is deleted, and what lies in it would go too."""
    (tmp_path / "teacher").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "teacher" / name).touch()
    assert CliRunner().invoke(write, ["here", "--out", str(tmp_path / "teacher/x")]).exit_code == 0
    (tmp_path / "teacher/training.json").touch()
    for option, name in (("--out", "run"), ("--made", "x/a.zarr"), ("--plot", "x.png")):
        message = refusal("here", option, tmp_path / "teacher" / name)
        assert f"lies in, the teacher {tmp_path / 'teacher'}" in message


def test_nothing_is_written_into_an_export(exported: Path) -> None:
    for name in ("", "model.onnx", "inner/x"):
        assert f"the export {exported}" in refusal("here", "--out", exported / name)
    assert f"the export {exported}" in refusal("here", "--plot", exported / "x.png")


@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_no_device_pipe_or_link_becomes_a_file(tmp_path: Path, option: str) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "file.png").write_text("kept")
    (tmp_path / "link.png").symlink_to(tmp_path / "file.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    assert "is a device or a pipe" in refusal("here", option, tmp_path / "pipe.png")
    for name in ("link", "dangling"):
        assert "name the place itself" in refusal("here", option, tmp_path / f"{name}.png")
    if option == "--out":
        assert "is a device or a pipe" in refusal("here", option, "/dev/null")
        (tmp_path / "folder").symlink_to(tmp_path)  # a folder that the user named may be a link
        assert CliRunner().invoke(write, ["here", "--out", str(tmp_path / "folder")]).exit_code == 0


def test_a_tilde_that_no_shell_expanded_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    context = click.Context(write)
    for kind in (LocalPath(), OutputPath(), OutputFile(PICTURES)):
        assert kind.convert("~/x.png", None, context) == tmp_path / "x.png"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    (tmp_path / "~/x").mkdir()
    assert LocalPath().convert("~/x", None, context) == Path("~/x")


def test_a_variable_that_no_shell_replaced_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text, name in [("$SCRATCH/run", "$SCRATCH"), ("${SCRATCH}", "${SCRATCH}")]:
        message = refusal("here", "--out", text)
        assert f"begins with {name}, which no shell has replaced" in message
        assert CliRunner().invoke(write, ["here", "--out", f"./{text}"]).exit_code == 0
    assert CliRunner().invoke(write, ["here", "--out", "$5"]).exit_code == 2
    assert CliRunner().invoke(write, ["here", "--out", "a$b"]).exit_code == 0
    (tmp_path / "$SCRATCH").mkdir()
    assert CliRunner().invoke(write, ["here", "--out", "$SCRATCH/run"]).exit_code == 0


def test_no_folder_takes_the_place_of_one_that_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (".", tmp_path):
        assert f"{place} is the working folder, which no folder can take the place of" in refusal(
            "here", "--made", place
        )
    assert "/proc is a mount point, which no folder can" in refusal("here", "--made", "/proc")
    for words in (("--made", "new"), ("--out", ".")):
        assert CliRunner().invoke(write, ["here", *words]).exit_code == 0


def test_nothing_is_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file/x.png", "file/a/b/x.png"):
        assert f"{tmp_path / 'file'} is no folder" in refusal("here", "--plot", tmp_path / name)
        assert f"{tmp_path / 'file'} is no folder" in refusal("here", "--out", tmp_path / name)


def test_a_name_leaves_room_for_the_names_of_drafts(tmp_path: Path) -> None:
    for option, name in (
        ("--out", 216 * "a"),
        ("--out", 73 * "音"),
        ("--plot", f"{212 * 'a'}.png"),
    ):
        size = len(name.encode())
        assert f"has a name of {size} bytes; at most 215 leave" in refusal(
            "here", option, tmp_path / name
        )
    longest = tmp_path / (215 * "a")
    assert CliRunner().invoke(write, ["here", "--out", str(longest)]).exit_code == 0
    (tmp_path / (230 * "a")).mkdir()  # of an earlier command: it is continued
    assert CliRunner().invoke(write, ["here", "--out", str(tmp_path / (230 * "a"))]).exit_code == 0


@pytest.mark.parametrize(
    ("option", "name", "locked"),
    [
        ("--out", "deep/new", ""),
        ("--log", "log", "log"),  # which is added to
        ("--plot", "new.png", ""),
        ("--plot", "old.png", ""),  # which a draft takes the place of
        ("--plot", "old.png", "old.png"),  # read-only, so that it stays
        ("--made", "new", ""),
    ],
)
def test_missing_rights_are_reported_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str, locked: str
) -> None:
    for there in ("log", "old.png"):
        (tmp_path / there).touch()
    place = tmp_path / locked

    def access(path: object, mode: int) -> bool:
        return not (mode & os.W_OK and str(path) == str(place))

    monkeypatch.setattr(os, "access", access)
    result = CliRunner().invoke(write, ["here", option, str(tmp_path / name)])
    assert result.exit_code == 1, result.output
    assert f"write: Permission denied ({place})" in result.output
    assert "Allow access to it, or name another place" in result.output
    assert "it ran" not in result.output


@pytest.mark.parametrize("words", [(), ("here", "--out"), ("here", "--plot")], ids=str)
@pytest.mark.parametrize("path", [r"C:\work\run.png", "d:/work/run.png"])
def test_a_path_of_windows_is_told_its_place_under_wsl(words: tuple[str, ...], path: str) -> None:
    drive = path[0].lower()
    assert f"under WSL it is /mnt/{drive}/work/run.png" in refusal(*words, path)


def test_a_folder_that_is_called_like_a_drive_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p:").mkdir()
    assert run_of("p:", "--log", "p:/log") == "it ran"


def test_backslashes_divide_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    assert "divides no folders here: write /" in refusal("here", "--out", r"runs\new")
    assert "backslashes divide no folders here: write sub/." in refusal(r"sub\.")
    Path(r"odd\name").mkdir()  # what is there keeps its name, and so does what lies in it
    assert run_of(r"odd\name", "--log", r"odd\name/log") == "it ran"


@pytest.mark.parametrize("name", ["runs\neu", "run\x7f", "\truns/a", "a\x1b/b"])
def test_a_new_name_holds_no_control_character(name: str, tmp_path: Path) -> None:
    assert "holds a control character" in refusal("here", "--out", f"{tmp_path}/{name}")
    assert "make of a backslash: write / there" in refusal("here", "--log", f"{tmp_path}/{name}")


def run_of(*words: object) -> str:
    return CliRunner().invoke(write, [str(word) for word in words]).output.strip()
