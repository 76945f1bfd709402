"""A cache, a model or a corpus from a stranger runs nothing and is read nowhere but in its folder."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_cache
import soundfile
import torch
from fuzzing import run
from resign_cache import sign, write_manifest
from small_finetuning import write_base

from cache_schema.clip import Clip
from cache_schema.errors import AftersoundError
from cache_schema.inspection.cli import main as inspect_cache
from cache_schema.reader import open_cache
from cache_schema.store.arrays import encoded_chunk
from cache_schema.writer import UnitRow, seal, write_unit
from pipeline.audio.decode import UnusableAudio
from pipeline.precompute.cli import main as precompute_teacher
from pipeline.teachers import open_teacher
from pipeline.views import ViewRecipe
from pipeline.views.interface import ViewContext
from student.evaluation.cli import main as evaluate_student
from student.training.cli import main as train_student

SECRET = "the-secret-42"
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> object:
        return os.mknod, (str(self.sentinel),)


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("model") / "whisper", "whisper")


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "model"))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere/secret.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"model_type": SECRET, "manifest": SECRET, "digest": SECRET}))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return small_cache.copy_small_cache(tmp_path / "small.zarr")


# --- models --------------------------------------------------------------------------------------


def test_the_trap_springs_where_a_pickle_is_loaded(sentinel: Path) -> None:
    pickle.loads(pickle.dumps(Trap(sentinel)))
    assert sentinel.exists()


def test_pickled_weights_are_never_loaded(model: Path, sentinel: Path) -> None:
    (model / WEIGHTS).unlink()
    for name in ("pytorch_model.bin", "model.pt", "training_args.bin"):
        torch.save(Trap(sentinel), model / name)
    with pytest.raises(AftersoundError, match="never loaded"):
        open_teacher(str(model))
    assert not sentinel.exists()


def test_code_beside_the_weights_is_never_run(model: Path, sentinel: Path) -> None:
    code = f"import pathlib\npathlib.Path({str(sentinel)!r}).touch()\nclass Model: pass\n"
    for name in ("modeling.py", "configuration.py", "__init__.py"):
        (model / name).write_text(code)
    torch.save(Trap(sentinel), model / "adapter_model.bin")
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "../elsewhere"}')
    foreign_code = {
        "AutoConfig": "configuration.Model",
        "AutoModelForAudioClassification": "modeling.Model",
    }
    settings = json.loads((model / CONFIG).read_text()) | {
        "auto_map": foreign_code, "trust_remote_code": True, "attn_implementation": "someone/kernel",
        "quantization_config": {"quant_method": "modeling.Model"}, "custom_pipelines": {"x": {}},
        "transformers_weights": "adapter_model.bin", "fusion_config": {"modeling": True},
    }  # fmt: skip
    (model / CONFIG).write_text(json.dumps(settings))
    preprocessor = model / "preprocessor_config.json"
    features = json.loads(preprocessor.read_text()) | {
        "auto_map": {"AutoFeatureExtractor": "modeling.M"}
    }
    preprocessor.write_text(json.dumps(features))
    open_teacher(str(model)).load("cpu")
    assert not sentinel.exists()


@pytest.mark.parametrize("name", [CONFIG, "preprocessor_config.json", WEIGHTS])
def test_a_link_out_of_a_model_folder_is_not_followed(model: Path, secret: Path, name: str) -> None:
    (model / name).unlink()
    (model / name).symlink_to(secret)
    with pytest.raises(AftersoundError, match="outside the folder, by a link") as caught:
        open_teacher(str(model))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["../stranger.safetensors", "/etc/passwd", "a/../b", "..", ""])
def test_an_index_names_no_file_outside_the_folder(model: Path, name: str) -> None:
    shutil.move(model / WEIGHTS, model.parent / "stranger.safetensors")
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}))
    with pytest.raises(AftersoundError, match="is not a plain name"):
        open_teacher(str(model))


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing"])
@pytest.mark.parametrize("name", [CONFIG, "preprocessor_config.json", WEIGHTS, "part.safetensors"])
def test_what_is_no_file_is_deleted_before_one_is_copied(model: Path, name: str, kind: str) -> None:
    if name == "part.safetensors":
        (model / WEIGHTS).unlink()
        (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}))
    place = model / name
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(model / "gone")
    with pytest.raises(AftersoundError) as caught:
        open_teacher(str(model), {})
    wanted = f"{name} (in its place is a link to nothing, a folder or a pipe: delete that first)"
    assert wanted in str(caught.value)


def test_the_hubs_own_links_into_its_blobs_are_followed(model: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--whisper"
    snapshot = repository / "snapshots/0123abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(model.iterdir())):
        blob = path.rename(repository / "blobs" / f"{number:040x}")
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    open_teacher(str(snapshot)).load("cpu")
    (snapshot / CONFIG).unlink()
    (snapshot / CONFIG).symlink_to(tmp_path / "nowhere/config.json")
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere/config.json").write_text("{}")
    with pytest.raises(AftersoundError, match="outside the folder, by a link"):
        open_teacher(str(snapshot))


# --- corpora -------------------------------------------------------------------------------------


def test_a_link_out_of_a_corpus_is_quarantined_and_not_decoded(tmp_path: Path) -> None:
    folder = tmp_path / "corpus/dog"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", np.full(8000, 0.1), 16_000)
    soundfile.write(tmp_path / "private.wav", np.full(8000, 0.7), 16_000)
    (folder / "c.wav").symlink_to(tmp_path / "private.wav")
    out = tmp_path / "out.zarr"
    code, output = run(
        precompute_teacher, f"folder:{folder.parent}", "--teacher", "toy", "--out", out
    )
    assert code == 0
    assert "dog/c: its path leaves the corpus" in output
    cache = open_cache(out)
    units = [unit for split in cache.splits for unit in cache.units(split)]
    waveforms = [cache.read_unit(unit, ["waveform"]).signals["waveform"].values for unit in units]
    assert np.abs(np.concatenate(waveforms)).max() < 0.2 * 32768


def nothing_but(root: Path) -> ViewContext:
    """A corpus of one clip, which is a link."""
    clip = Clip(id="a", path="a.wav", labels=("x",), split="train")
    labels = np.ones(1, np.float32)
    return ViewContext(root, 16_000, range(1), lambda _: clip, lambda _: labels)


def test_noise_is_not_taken_from_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "private.wav", np.full(8000, 0.7), 16_000)
    (tmp_path / "noise/a.wav").symlink_to(tmp_path / "private.wav")
    with pytest.raises(AftersoundError, match="holds no audio"):
        ViewRecipe(["noise:folder=noise"], nothing_but(tmp_path), seed=0)


def test_a_partner_is_not_taken_from_behind_a_link(tmp_path: Path) -> None:
    """Half of the views have a partner, which is this clip."""
    soundfile.write(tmp_path / "private.wav", np.full(8000, 0.7), 16_000)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/a.wav").symlink_to(tmp_path / "private.wav")
    recipe = ViewRecipe(["mixup"], nothing_but(tmp_path / "corpus"), seed=0)
    clip = Clip(id="b", path="b.wav", labels=("x",), split="train")
    with pytest.raises(UnusableAudio, match="its partner a: its path leaves the corpus"):
        _ = [recipe.make(np.zeros(8000, np.float32), clip, view) for view in range(20)]


def test_lists_of_a_corpus_are_not_read_from_behind_a_link(tmp_path: Path, secret: Path) -> None:
    root = tmp_path / "words"
    (root / "yes").mkdir(parents=True)
    (root / "metadata.csv").symlink_to(secret)
    code, output = run(
        precompute_teacher, f"speech-commands:{root}", "--teacher", "toy", "--out", tmp_path / "o"
    )
    assert code == 2
    assert "leads out of the corpus by a link" in output
    assert SECRET not in output


# --- caches --------------------------------------------------------------------------------------

OBJECTS = (
    "manifest.json", "zarr.json", "parts/part-000/plan.json", "parts/part-000/index/index.json",
    "parts/part-000/index/object_bytes/zarr.json", "clips/labels/zarr.json", "clips/labels/c/0/0",
    "parts/part-000/logits/c/0/0", "parts/part-000/waveform/c/1",
    "parts/part-000/commits/000000.json",
)  # fmt: skip
FOLDERS = (
    "parts", "parts/part-000", "parts/part-000/logits", "parts/part-000/logits/c",
    "parts/part-000/logits/c/0", "parts/part-000/commits", "parts/part-000/index", "clips",
    "clips/labels/c/0",
)  # fmt: skip


def read_everything(root: Path) -> None:
    cache = open_cache(root)
    for split in cache.splits:
        for unit in cache.units(split):
            cache.read_unit(unit, list(cache.signals))
    cache.clip_ids()


def commands_print(root: Path) -> str:
    """What the commands print of a cache that must not pass for a whole one."""
    code, screen = run(inspect_cache, root, "--verify")
    assert code == 3
    return screen + run(inspect_cache, root, "--json")[1]


@pytest.mark.parametrize("key", OBJECTS)
def test_a_link_in_a_cache_is_not_followed(cache: Path, secret: Path, key: str) -> None:
    (cache / key).unlink()
    (cache / key).symlink_to(secret)
    screen = commands_print(cache)
    assert "link" in screen
    assert SECRET not in screen


@pytest.mark.parametrize("key", [*OBJECTS, *FOLDERS])
def test_a_link_to_the_very_same_content_is_not_followed_either(cache: Path, key: str) -> None:
    place = cache.parent / "moved"
    (cache / key).rename(place)
    (cache / key).symlink_to(place)
    assert "link" in commands_print(cache)
    if "commits" not in key:  # which no reader needs
        with pytest.raises(AftersoundError, match="link"):
            read_everything(cache)


@pytest.mark.parametrize("key", OBJECTS)
def test_a_pipe_in_a_cache_does_not_hold_anybody_up(cache: Path, key: str) -> None:
    (cache / key).unlink()
    os.mkfifo(cache / key)
    commands_print(cache)


def test_the_cache_itself_may_be_a_link(cache: Path) -> None:
    (cache.parent / "link.zarr").symlink_to(cache)
    read_everything(cache.parent / "link.zarr")
    assert run(inspect_cache, cache.parent / "link.zarr", "--verify")[0] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]},
        {"codecs": [{"name": "os.system", "configuration": {"command": "true"}}]},
        {"storage_transformers": [{"name": "someone.else"}]},
        {"fill_value": {"__class__": "os"}},
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "../"}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**15]}}},
        {"shape": [2**62]}, {"data_type": "|O"}, {"data_type": {"name": "struct"}},
    ],
    ids=str,
)  # fmt: skip
def test_the_metadata_of_an_array_names_nothing_that_is_not_of_the_format(
    cache: Path, change: dict[str, object]
) -> None:
    path = cache / "parts/part-000/index/row_usable/zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    sign(cache)
    with pytest.raises(AftersoundError, match="row_usable"):
        read_everything(cache)


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "clips/../../outside", "clips//x"])
def test_a_manifest_names_no_object_outside_the_cache(cache: Path, key: str) -> None:
    manifest = json.loads((cache / "manifest.json").read_bytes())["manifest"]
    manifest["clip_table"][key] = "0" * 64
    write_manifest(cache, manifest)
    code, screen = run(inspect_cache, cache, "--verify")
    assert code == 3
    assert "is not a plain name" in screen


# --- caches that are written -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "sounds"
    for number, name in enumerate(("dog", "cat")):
        (root / name).mkdir(parents=True)
        for i in range(6):
            wave = 0.1 * np.random.default_rng(10 * number + i).standard_normal(4000)
            soundfile.write(root / name / f"{i}.wav", wave, 16_000)
    return root


def computed(corpus: Path, out: Path, *options: str) -> tuple[int, str]:
    words = (f"folder:{corpus}?validation=0.2&test=0.2", "--teacher", "toy", "--unit-rows", "2")
    return run(precompute_teacher, *words, "--out", out, *options)


@pytest.fixture(scope="module")
def unfinished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache whose last unit is still to be computed."""
    out = tmp_path_factory.mktemp("caches") / "a.zarr"
    assert computed(corpus, out)[0] == 0
    reopened = json.loads((out / "manifest.json").read_bytes())["manifest"]
    reopened["parts"][0]["index_sha256"] = None
    write_manifest(out, reopened)
    shutil.rmtree(out / "parts/part-000/index")
    last = max((out / "parts/part-000/commits").iterdir())
    last.unlink()
    for signal in ("logits", "waveform"):
        shutil.rmtree(out / f"parts/part-000/{signal}/c/{int(last.stem)}", ignore_errors=True)
        (out / f"parts/part-000/{signal}/c/{int(last.stem)}").unlink(missing_ok=True)
    return out


PLACES = (
    "parts", "parts/part-000", "parts/part-000/commits", "parts/part-000/logits",
    "parts/part-000/logits/c", "parts/part-000/logits/c/0", "parts/part-000/logits/c/LAST",
    "parts/part-000/waveform/c", "parts/part-000/waveform/c/LAST", "parts/part-000/plan.json",
    "parts/part-000/commits/00000LAST.json", "parts/part-000/index", "parts/part-000/unsealed",
    "parts/part-000/index.draft.partial", "parts/part-001", "parts/part-001.draft.partial",
    "manifest.json", "manifest.json.1-1.partial", "zarr.json", "clips", "clips/id_bytes/c/0",
    "anything", "parts/part-000/logits/c/99",
)  # fmt: skip


def last_unit(root: Path) -> int:
    return len(list((root / "parts/part-000/commits").iterdir()))


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_the_unfinished_cache_can_be_finished(
    corpus: Path, unfinished: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(unfinished, tmp_path / "a.zarr"))
    code, screen = computed(corpus, out)
    assert code == 0, screen
    assert "1 work units computed" in screen
    assert run(inspect_cache, out, "--verify")[0] == 0


@pytest.mark.parametrize("options", [(), ("--repair",)], ids=["resume", "repair"])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_written_through_a_link_of_an_unfinished_cache(
    corpus: Path, unfinished: Path, tmp_path: Path, place: str, options: tuple[str, ...]
) -> None:
    out = Path(shutil.copytree(unfinished, tmp_path / "a.zarr"))
    key = out / place.replace("LAST", str(last_unit(out)))
    outside = tmp_path / "outside"
    if key.exists():
        key.rename(outside)
    else:
        outside.mkdir()
    key.symlink_to(outside)
    before = outside.read_bytes() if outside.is_file() else snapshot(outside)
    code, screen = computed(corpus, out, *options)
    assert code == 3, screen
    assert "link" in screen
    assert (outside.read_bytes() if outside.is_file() else snapshot(outside)) == before
    assert key.is_symlink()


@pytest.mark.parametrize("place", ["parts/part-000/logits/c/LAST", "parts/part-000/index", "pipe"])
def test_a_pipe_holds_no_writer_up(
    corpus: Path, unfinished: Path, tmp_path: Path, place: str
) -> None:
    out = Path(shutil.copytree(unfinished, tmp_path / "a.zarr"))
    os.mkfifo(out / place.replace("LAST", str(last_unit(out))))
    assert computed(corpus, out)[0] == 3


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_the_lock_is_no_way_out(corpus: Path, tmp_path: Path, kind: str) -> None:
    lock, outside = tmp_path / "a.zarr.lock", tmp_path / "outside"
    outside.write_text("mine")
    {
        "link": lambda: lock.symlink_to(outside),
        "pipe": lambda: os.mkfifo(lock),
        "folder": lock.mkdir,
    }[kind]()
    assert computed(corpus, tmp_path / "a.zarr")[0] == 1
    assert outside.read_text() == "mine"
    assert not (tmp_path / "a.zarr").exists()


# --- objects that nobody recorded ------------------------------------------------------------------

PLANTED = (
    "parts/part-000/index/row_usable/c/7", "parts/part-001/index/row_lengths/c/0/7",
    "clips/start_s/c/7", "clips/none_present/zarr.json", "parts/part-000/extra", "parts/extra/x",
    "parts/part-000/logits/c/0/1", "parts/part-000/logits/c/99/0", "parts/part-000/commits/x.json",
    "parts/part-000/index/more/zarr.json", "extra/x", "parts/x",
)  # fmt: skip


def plant(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_bytes(b"x")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
@pytest.mark.parametrize("key", PLANTED)
def test_whatever_nobody_recorded_is_found(cache: Path, key: str, kind: str) -> None:
    plant(cache / key, kind)
    code, screen = run(inspect_cache, cache, "--verify")
    assert code == 3
    assert any(part in screen for part in (key, *map(str, Path(key).parents[:-1]))), screen


def test_a_chunk_that_nobody_recorded_is_not_read(tmp_path: Path) -> None:
    """Of rows that are all quarantined nothing is stored, so zarr would take a planted chunk."""
    root = tmp_path / "small.zarr"
    plan = small_cache.lay_out(root)
    for unit, rows in enumerate(plan.units.rows):
        write_unit(root, plan, unit, [UnitRow(reason="silent")] * rows)
    seal(root, plan)
    usable = root / "parts/part-000/index/row_usable"
    units = open_cache(root).units("train")
    assert len(open_cache(root).read_unit(units[0], ["logits"]).clip) == 0
    assert not (usable / "c").exists()
    length = json.loads((usable / "zarr.json").read_bytes())["shape"][0]
    (usable / "c").mkdir()
    ones = encoded_chunk((length,), "uint8", "crc32c", np.ones(length, np.uint8))
    (usable / "c/0").write_bytes(ones)
    with pytest.raises(AftersoundError, match="nobody recorded it"):
        open_cache(root).read_unit(units[0], ["logits"])
    assert "row_usable/c: is not named" in run(inspect_cache, root, "--verify")[1]


# --- runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache `a.zarr` and a finished run on it."""
    folder = tmp_path_factory.mktemp("taught")
    assert computed(corpus, folder / "a.zarr")[0] == 0
    assert trained(folder / "run", folder / "a.zarr")[0] == 0
    return folder


def trained(out: Path, cache: Path, epochs: int = 1) -> tuple[int, str]:
    words = ("--student", "tc-resnet", "--epochs", epochs, "--batch-size", 4, "--device", "cpu")
    return run(train_student, cache, *words, "--out", out)


RUN_FILES = (CONFIG, WEIGHTS, "training-state.pt", "result.json", "metrics.jsonl")


@pytest.mark.parametrize("kind", ["link", "pipe", "device", "folder"])
@pytest.mark.parametrize("name", RUN_FILES)
def test_a_run_is_read_from_plain_files_alone(
    taught: Path, tmp_path: Path, secret: Path, name: str, kind: str
) -> None:
    folder = Path(shutil.copytree(taught / "run", tmp_path / "run"))
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to(secret if kind == "link" else "/dev/zero")
    before = secret.read_bytes()
    read = name in (CONFIG, WEIGHTS)
    code, screen = run(evaluate_student, folder, taught / "a.zarr", "--split", "test")
    assert code == (1 if read else 0), screen
    assert SECRET not in screen
    code, screen = trained(folder, taught / "a.zarr")
    assert code in ((1, 2) if kind != "folder" else (0, 1, 2)), screen
    assert SECRET not in screen
    assert secret.read_bytes() == before


@pytest.mark.parametrize("name", ["tensorboard", "x"])
def test_nothing_is_written_through_a_link_of_a_run(
    taught: Path, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(taught / "run", tmp_path / "run"))
    outside = tmp_path / "outside"
    if (folder / name).exists():
        (folder / name).rename(outside)
    outside.mkdir(exist_ok=True)
    (folder / name).symlink_to(outside)
    (folder / "result.json").unlink()
    before = snapshot(outside)
    code, screen = trained(folder, taught / "a.zarr")
    assert code == 1
    assert "link" in screen
    assert snapshot(outside) == before
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize(
    ("student", "options"),
    [
        ("mobilenet", {"width": "1e9"}), ("mobilenet", {"width": "nan"}),
        ("mobilenet", {"width": "-1"}), ("ast-tiny", {"layers": "1000000"}),
        ("ast-tiny", {"layers": "9" * 5000}), ("ast-tiny", {"stride": "0"}),
        ("tc-resnet", {"width": "9"}), ("\x1b[2J", {}), ("os:system", {}),
    ],
)  # fmt: skip
def test_a_run_requests_no_student_that_is_too_large(
    taught: Path, tmp_path: Path, student: str, options: dict[str, str]
) -> None:
    folder = Path(shutil.copytree(taught / "run", tmp_path / "run"))
    config = json.loads((folder / CONFIG).read_text())
    config |= {"student": student, "student_options": options}
    (folder / CONFIG).write_text(json.dumps(config))
    code, screen = run(evaluate_student, folder, taught / "a.zarr")
    assert code == 1
    assert str(folder / CONFIG) in screen
    assert "\x1b" not in screen


def test_a_run_of_a_metric_that_is_not_installed_is_named(taught: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(taught / "run", tmp_path / "run"))
    config = json.loads((folder / CONFIG).read_text()) | {"metric": "theirs"}
    (folder / CONFIG).write_text(json.dumps(config))
    code, screen = run(evaluate_student, folder, taught / "a.zarr")
    assert code == 1
    assert f"{folder / CONFIG} names what is not installed here: unknown metric 'theirs'" in screen


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "training-state.pt"])
def test_a_file_of_a_run_that_is_far_too_large_is_not_read(
    taught: Path, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(taught / "run", tmp_path / "run"))
    with (folder / name).open("r+b") as file:
        file.truncate(1 << 36)  # sparse
    (folder / "result.json").unlink()
    if name != "training-state.pt":
        assert run(evaluate_student, folder, taught / "a.zarr")[0] == 1
    assert trained(folder, taught / "a.zarr", epochs=2)[0] in (1, 2)


def test_deep_json_in_a_run_is_a_line(taught: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(taught / "run", tmp_path / "run"))
    (folder / CONFIG).write_text("[" * 1_000_000)
    assert run(evaluate_student, folder, taught / "a.zarr")[0] == 1
    assert trained(folder, taught / "a.zarr")[0] == 1
