"""Students as LiteRT files, in LiteRT and in tflite-micro."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from exported_students import CLASSES, student_of
from installed_formats import installed

from student.export.clips import generated_clips
from student.export.converters import hushed
from student.export.forms import FormSpec, build_graph
from student.export.interface import Arrays, Exporter, Graph

CONVOLUTIONAL = ("tc-resnet", "ds-tc-resnet", "bc-resnet", "mobilenet")
SPEC = FormSpec(kind="static", takes="features", samples=8_000)


@pytest.fixture(scope="module")
def exporter() -> Exporter:
    return installed("litert")


@dataclass(frozen=True)
class Written:
    """A student's files, and clips for them."""

    graph: Graph
    floats: Path
    int8: Path
    clips: list[Arrays]


@pytest.fixture(scope="module")
def written(
    exporter: Exporter, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Written]:
    made: dict[str, Written] = {}

    def write(name: str) -> Written:
        if name not in made:
            student = student_of(name, len(CLASSES))
            folder = tmp_path_factory.mktemp(name)
            floats, int8 = folder / exporter.file_name, folder / "int8.tflite"
            found = generated_clips(student.front_end, SPEC, len(CLASSES)).clips
            clips = [{"features": clip.features_TM[None]} for clip in found]
            graph = replace(build_graph(student, SPEC), metadata={"aftersound.contract": "{é}"})
            exporter.write(graph, floats)
            exporter.quantize(graph, floats, int8, clips)
            made[name] = Written(graph, floats, int8, clips)
        return made[name]

    return write


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_tflite_micro_answers_as_litert(
    name: str, written: Callable[[str], Written], exporter: Exporter
) -> None:
    from student.export.arena import MicroRunner

    files = written(name)
    for path in (files.floats, files.int8):
        small, large = MicroRunner(path), exporter.load(path)
        scale = large.outputs[0].scale
        for inputs in files.clips[:8]:
            found, expected = small.run(inputs)["logits"], large.run(inputs)["logits"]
            assert expected.std() > 0
            # An int8 kernel may round one step otherwise, here and there.
            allowed = 1e-5 * max(1, np.abs(expected).max()) if scale is None else 2 * scale
            np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("name", ["tc-resnet", "ds-tc-resnet"])
def test_int8_is_small_static_and_in_one_piece(
    name: str, written: Callable[[str], Written], exporter: Exporter
) -> None:
    from student.export.litert_format import outside_buffers

    files = written(name)
    share = files.int8.stat().st_size / files.floats.stat().st_size
    assert share < (0.35 if name == "tc-resnet" else 0.45)
    assert (
        outside_buffers(files.int8.read_bytes()) == outside_buffers(files.floats.read_bytes()) == 0
    )
    runner = exporter.load(files.int8)
    assert [(t.name, t.dtype) for t in runner.inputs] == [("features", "float32")]
    assert [(t.name, t.dtype) for t in runner.outputs] == [("logits", "int8")]


def test_buffers_behind_the_flatbuffer_are_brought_into_it(
    written: Callable[[str], Written],
) -> None:
    from student.export.litert_format import Quantizer, outside_buffers, recipe, whole

    content = written("tc-resnet").floats.read_bytes()
    quantizer = Quantizer(bytearray(content), recipe.dynamic_wi8_afp32())
    found = bytes(quantizer.quantize(enable_progress_report=False).quantized_model)
    assert outside_buffers(found) > 0, "the quantizer keeps everything inside now"
    assert outside_buffers(whole(found, {})) == 0


def test_metadata_lie_in_the_file_once(written: Callable[[str], Written]) -> None:
    files = written("ds-tc-resnet")
    for path in (files.floats, files.int8):
        assert path.read_bytes().count("{é}".encode()) == 1
        assert path.read_bytes().count(b"aftersound.contract") == 1


def test_ranges_are_those_of_all_clips_however_many_are_quiet(
    written: Callable[[str], Written],
) -> None:
    from student.export.litert_format import calibrated, static_recipes

    files = written("ds-tc-resnet")
    content, quiet = files.floats.read_bytes(), files.clips[0]
    loud = {"features": 5 * quiet["features"]}
    recipes = static_recipes(content)
    with hushed():
        found, of_loud, of_quiet = (
            calibrated(content, clips, recipes)
            for clips in ([loud, *[quiet] * 60], [loud], [quiet])
        )
    louder = [n for n in found if np.max(of_loud[n]["max"]) > 1.5 * np.max(of_quiet[n]["max"])]
    assert louder
    for name, found_range in found.items():
        pair = (of_loud[name], of_quiet[name])
        np.testing.assert_array_equal(found_range["max"], np.maximum(*(p["max"] for p in pair)))
        np.testing.assert_array_equal(found_range["min"], np.minimum(*(p["min"] for p in pair)))


def test_the_smallest_arena_is_enough_and_a_smaller_one_is_not(
    written: Callable[[str], Written], exporter: Exporter
) -> None:
    from student.export.arena import STEP_BYTES, MicroRunner, smallest_arena_bytes

    files = written("ds-tc-resnet")
    sizes = [smallest_arena_bytes(path) for path in (files.floats, files.int8)]
    facts = exporter.facts(files.int8)
    assert facts == {next(iter(facts)): f"{sizes[1]:,} bytes"}
    assert "arena of tflite-micro" in next(iter(facts))
    assert sizes[0] is not None
    assert sizes[1] is not None
    assert 10_000 < sizes[1] < sizes[0] < 100_000
    runner = MicroRunner(files.int8, sizes[1])
    assert np.isfinite(runner.run(files.clips[0])["logits"]).all()
    with pytest.raises(RuntimeError):
        MicroRunner(files.int8, sizes[1] - STEP_BYTES).run(files.clips[0])


def test_weights_alone_are_not_for_tflite_micro(exporter: Exporter, tmp_path: Path) -> None:
    student = student_of("tc-resnet", len(CLASSES))
    graph = build_graph(student, SPEC)
    floats, int8 = tmp_path / exporter.file_name, tmp_path / "int8.tflite"
    exporter.write(graph, floats)
    exporter.quantize_weights(graph, floats, int8)
    assert "bytes" in next(iter(exporter.facts(floats).values()))
    assert "answers otherwise than LiteRT" in next(iter(exporter.facts(int8).values()))


def test_lstm_p_steps_with_its_state_in_int8(exporter: Exporter, tmp_path: Path) -> None:
    student = student_of("lstm-p", len(CLASSES))
    graph = build_graph(student, FormSpec(kind="step", takes="features"))
    floats, int8 = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    exporter.write(graph, floats)
    exporter.quantize(graph, floats, int8, [])
    assert int8.stat().st_size < 0.35 * floats.stat().st_size
    frames = np.random.default_rng(0).normal(0, 1, (20, 1, 20)).astype(np.float32)
    answers = []
    for path in (floats, int8):
        runner = exporter.load(path)
        state = {n: t.numpy() for n, t in graph.inputs.items() if n.startswith("state_")}
        for frame in frames:
            found = runner.run({"features": frame, **state})
            state = {name: found[f"next_{name}"] for name in state}
        answers.append(found["logits"])
    assert np.ptp(answers[0]) > 0
    assert np.abs(answers[1] - answers[0]).max() < 0.1 * np.ptp(answers[0])
