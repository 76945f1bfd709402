"""Corpus listings and option files of any content: read, or rejected with everything that is wrong."""

from __future__ import annotations

import os
import random
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from fuzzing import ODD_VALUES, fuzzing, mutated_bytes, only_reported, run, seeds
from hypothesis import assume, given
from hypothesis import strategies as st

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.inspection.cli import main as inspect_cache
from pipeline.finetune.cli import main as finetune_teacher
from pipeline.precompute.cli import main as precompute_teacher
from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute
from pipeline.views import VIEWS, ViewRecipe
from pipeline.views.interface import ViewContext
from student.evaluation.cli import main as evaluate_student
from student.stream.class_map import read_class_map
from student.training.cli import main as train_student

CELLS = st.one_of(
    st.sampled_from(
        ["", "a.wav", "b.wav", "../a.wav", "/etc/passwd", "loop.wav", "x" * 300, "dog", "dog;cat", "0",
         "0.05", "-1", "1e400", "nan", "train", "test", "\x00", "a\x00.wav", "a.wav/x", ".", "..", "é"]
    ),
    st.text(max_size=8),
)  # fmt: skip
COLUMNS = st.lists(
    st.sampled_from(["path", "label", "labels", "id", "split", "start_s", "end_s", "speaker", "x"]),
    max_size=6,
)
COMMANDS = (inspect_cache, finetune_teacher, precompute_teacher, train_student, evaluate_student)
TOML_VALUES = (
    "1", "-1", "0.5", "nan", "inf", "true", '"x"', '""', "[]", "[1]", '["a", "b"]', "{}", "{a = 1}",
    "1979-05-27", "07:32:00", "[[1], [2]]", "0x7fffffffffffffffff", "1e999", '"""\n"""', '"\\u0000"',
    "9" * 5000, "[" * 3000 + "]" * 3000, "{a=" * 500 + "1" + "}" * 500, "",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for name in ("a.wav", "b.wav"):
        soundfile.write(root / name, np.full(1600, 0.1), 16_000)
    (root / "loop.wav").symlink_to(root / "loop.wav")
    return root


def read(text: str) -> None:
    """A corpus is read and can be planned, or rejected with a message."""
    with only_reported(UsageError):
        Precompute(Request(corpora=(text,), teacher="toy", out=Path("unused")))


@fuzzing(150)
@given(columns=COLUMNS, rows=st.lists(st.lists(CELLS, max_size=6), max_size=5))
def test_a_manifest_of_any_cells_is_read_or_rejected(
    corpus: Path, columns: list[str], rows: list[list[str]]
) -> None:
    lines = [",".join(columns), *(",".join(row) for row in rows)]
    (corpus / "any.csv").write_bytes("\n".join(lines).encode("utf-8", "replace"))
    read(f"csv:{corpus / 'any.csv'}")


@fuzzing(100)
@given(seeds)
def test_a_mutated_manifest_is_read_or_rejected(corpus: Path, seed: int) -> None:
    text = "path,label,id,split,start_s,end_s\na.wav,dog,x,train,0,0.05\nb.wav,cat,y,test,0.01,\n"
    (corpus / "mutated.csv").write_bytes(mutated_bytes(text.encode(), random.Random(seed)))
    read(f"csv:{corpus / 'mutated.csv'}")


@fuzzing(100)
@given(seeds)
def test_mutated_lists_of_speech_commands_are_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    dice = random.Random(seed)
    root = tmp_path_factory.getbasetemp() / "words"
    for name in ("yes/a.wav", "no/b.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.full(1600, 0.1), 16_000)
    texts = {
        "metadata.csv": "file,label,speaker,fold\nyes/a.wav,yes,s,8\nno/b.wav,no,t,9\n",
        "validation_list.txt": "yes/a.wav\n",
        "testing_list.txt": "no/b.wav\n",
    }
    for name, text in texts.items():
        (root / name).unlink(missing_ok=True)
        if name != "metadata.csv" or dice.random() < 0.5:
            (root / name).write_bytes(mutated_bytes(text.encode(), dice, most=2))
    read(f"speech-commands:{root}?labels={dice.choice(['12', '35'])}")


@fuzzing(40)
@given(names=st.lists(st.binary(min_size=1, max_size=12), max_size=4))
def test_files_of_any_name_are_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes]
) -> None:
    root = tmp_path_factory.mktemp("names")
    (root / "dog").mkdir()
    soundfile.write(root / "dog/good.wav", np.full(1600, 0.1), 16_000)
    for name in names:
        folder = name.replace(b"/", b"").replace(b"\0", b"").strip(b".")
        if folder:
            place = os.fsencode(root) + b"/" + folder
            os.makedirs(place, exist_ok=True)
            with open(place + b"/" + folder + b".wav", "wb") as file:
                file.write((root / "dog/good.wav").read_bytes())
    read(f"folder:{root}")


def test_a_name_that_is_not_text_is_listed(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    soundfile.write(tmp_path / "dog/good.wav", np.full(1600, 0.1), 16_000)
    with open(os.fsencode(tmp_path) + b"/dog/bad\xff.wav", "wb"):
        pass
    code, output = run(
        precompute_teacher, f"folder:{tmp_path}", "--teacher", "toy", "--out", tmp_path / "o.zarr"
    )
    assert code == 2
    assert r"dog/bad\udcff.wav: its name is not UTF-8 text; rename it" in output
    assert not (tmp_path / "o.zarr").exists()


@fuzzing(80)
@given(seeds)
def test_a_config_of_any_content_is_taken_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    dice = random.Random(seed)
    command = dice.choice(COMMANDS)
    options = [p for p in command.params if isinstance(p, click.Option)]
    lines = []
    for option in dice.sample(options, dice.randint(1, 3)):
        key = max(option.opts, key=len).lstrip("-").replace("-", "_")
        lines.append(f"{key} = {dice.choice(TOML_VALUES)}")
    content = "\n".join(lines).encode()
    if dice.random() < 0.3:
        content = mutated_bytes(content, dice)
    base = tmp_path_factory.getbasetemp()
    (base / "options.toml").write_bytes(content)
    arguments = {p.name: base / "nothing" for p in command.params if isinstance(p, click.Argument)}
    code, _ = run(command, *arguments.values(), "--config", base / "options.toml")
    assert code


@fuzzing(100)
@given(seeds)
def test_a_class_map_of_any_content_is_taken_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    dice = random.Random(seed)
    lines = [f"{key} = {dice.choice(TOML_VALUES)}" for key in dice.sample(["dog", "cat", "a.b"], 2)]
    content = "\n".join(lines).encode()
    path = tmp_path_factory.getbasetemp() / "classes.toml"
    path.write_bytes(mutated_bytes(content, dice) if dice.random() < 0.3 else content)
    try:
        names = read_class_map(path)
    except UsageError:
        return
    assert all(isinstance(own, str) for several in names.values() for own in several)


@fuzzing(150)
@given(
    step=st.sampled_from([*VIEWS, "noize", ""]),
    option=st.sampled_from(
        ["low_db", "high_db", "max_s", "length_s", "low", "high", "alpha", "folder", ""]
    ),
    value=st.one_of(st.sampled_from([str(v) for v in ODD_VALUES]), st.floats().map(str), st.text()),
)
def test_a_view_of_any_options_is_made_or_rejected(
    corpus: Path, step: str, option: str, value: str
) -> None:
    clip = Clip(id="clip", path="a.wav", labels=("dog",), split="train")
    labels = np.ones(1, np.float32)
    context = ViewContext(corpus, 16_000, range(1), lambda _: clip, lambda _: labels)
    try:
        recipe = ViewRecipe([f"{step}:{option}={value}"], context, seed=0)
    except UsageError:
        return
    lengths = recipe.lengths([clip], np.array([1600]), 1)
    assume(lengths[0] < 10**7)  # a placement of hours is rejected by the teacher, not made
    varied = recipe.make(np.full(1600, 0.5, np.float32), clip, 1)
    assert np.isfinite(varied.waveform_S).all()
    assert varied.waveform_S.shape == tuple(lengths)
