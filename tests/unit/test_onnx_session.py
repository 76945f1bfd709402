"""An ONNX file of a stranger: what is not as its contract states is rejected in a message."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from toy_onnx import BINS, CLASSES, FRAMES, MATRIX, contract, graph, save, write_toy

from cache_schema.errors import RunError, UsageError
from student.predict.onnx_operators import operators
from student.predict.onnx_session import open_onnx
from student.predict.predictor import open_predictor

FEATURES = np.random.default_rng(1).standard_normal((1, FRAMES, BINS)).astype(np.float32)


def refused(path: Path, kind: str) -> str:
    with pytest.raises(RunError) as caught:
        open_onnx(path)
    assert caught.value.kind == kind
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_graph_answers(tmp_path: Path) -> None:
    session = open_onnx(write_toy(tmp_path / "toy.onnx", attention=True))
    found = session.run({"features": FEATURES})
    np.testing.assert_allclose(found["logits"], FEATURES.mean(1) @ MATRIX, rtol=1e-4, atol=1e-6)
    assert found["attention"].shape == (1, FRAMES)
    np.testing.assert_allclose(found["attention"].sum(), 1, rtol=1e-5)


def test_a_link_that_is_named_is_followed_and_one_in_a_folder_is_not(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy.onnx")
    (tmp_path / "link.onnx").symlink_to(toy)
    assert open_predictor(tmp_path / "link.onnx").classes == tuple(CLASSES)
    (tmp_path / "export").mkdir()
    (tmp_path / "export/model.onnx").symlink_to(toy)
    (tmp_path / "folder").symlink_to(tmp_path / "export")
    for folder in ("export", "folder"):
        with pytest.raises(RunError, match="is a link, which is not followed"):
            open_predictor(tmp_path / folder)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_rejected(tmp_path: Path, share: float) -> None:
    path = write_toy(tmp_path / "toy.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RunError, match=r"toy\.onnx"):
        open_onnx(path)


def test_what_is_no_plain_file_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is no plain file" in refused(tmp_path / "pipe", "missing")
    assert "is no plain file" in refused(tmp_path, "missing")
    assert "No such file" in refused(tmp_path / "none.onnx", "missing")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(10 << 30)
    assert "has 10737418240 bytes, at most" in refused(tmp_path / "huge.onnx", "missing")


def test_text_is_no_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("not a graph")
    reported = refused(tmp_path / "x.onnx", "onnx")
    assert "ONNXRuntimeError" not in reported
    assert len(reported.splitlines()) == 1


@pytest.mark.parametrize("where", ["beside", "absolute", "above"])
def test_tensors_in_other_files_are_not_read(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(MATRIX.tobytes())
    (folder / "secret.bin").write_bytes(MATRIX.tobytes())
    model = graph(contract())
    (matrix,) = [one for one in model.graph.initializer if one.name == "matrix"]
    matrix.ClearField("raw_data")
    matrix.data_location = TensorProto.EXTERNAL
    place = {
        "beside": "secret.bin",
        "absolute": str(tmp_path / "secret.bin"),
        "above": "../secret.bin",
    }
    for key, value in {
        "location": place[where],
        "offset": "0",
        "length": str(MATRIX.nbytes),
    }.items():
        matrix.external_data.add(key=key, value=value)
    path = save(model, contract(), folder / "model.onnx")
    refused(path, "onnx")
    before = Path.cwd()
    os.chdir(folder)  # a graph in memory has no folder but this one
    try:
        refused(path, "onnx")
    finally:
        os.chdir(before)


def test_a_graph_without_a_contract_is_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "bare.onnx"
    path.write_bytes(graph(contract()).SerializeToString())
    assert "export-student did not write it" in refused(path, "contract")


@pytest.mark.parametrize(
    ("form", "lie", "reported"),
    [
        ("static", {"classes": ["a", "b"], "outputs": ["logits", [1, 2]]}, "of shape [1, 3]"),
        (
            "static",
            {"length_samples": 32_000, "frames": 99, "inputs": ["features", [1, 99, BINS]]},
            "of shape [1, 49, 20], the contract states float32 of [1, 99, 20]",
        ),
        ("static", {"inputs": ["features", [None, FRAMES, BINS]]}, "the contract states float32"),
        ("dynamic", {"form": "static", "length_samples": 16_000, "frames": 49,
                     "inputs": ["features", [1, 49, BINS]]}, "[1, None, 20]"),
    ],
)  # fmt: skip
def test_a_graph_that_is_called_otherwise_is_rejected(
    tmp_path: Path, form: str, lie: dict[str, Any], reported: str
) -> None:
    changes = {
        key: [{"name": value[0], "shape": value[1], "dtype": "float32"}]
        if key in ("inputs", "outputs")
        else value
        for key, value in lie.items()
    }
    assert reported in refused(write_toy(tmp_path / "x.onnx", form, changes), "contract")


def test_an_input_of_another_name_or_type_is_rejected(tmp_path: Path) -> None:
    model = graph(contract())
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    path = save(model, contract(), tmp_path / "x.onnx")
    assert "inputs features, more; the contract states features" in refused(path, "contract")
    model = graph(contract())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(MATRIX.astype(np.float64), "matrix")
    )
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    path = save(model, contract(), tmp_path / "x.onnx")
    assert "tensor(double)" in refused(path, "contract")


def test_answers_that_are_not_finite_are_rejected(tmp_path: Path) -> None:
    session = open_onnx(write_toy(tmp_path / "toy.onnx"))
    with pytest.raises(RunError, match="logits has values that are not finite"):
        session.run({"features": FEATURES * np.float32(np.inf)})


def test_an_answer_of_another_shape_is_rejected(tmp_path: Path) -> None:
    promised = contract("dynamic")
    model = graph(promised)
    del model.graph.node[:]
    # Inference of shapes cannot see how many columns are kept: one for each frame.
    model.graph.node.extend([
        helper.make_node("ReduceMean", ["features", "over_bins"], ["level"], keepdims=0),
        helper.make_node("Identity", ["level"], ["logits"]),
    ])  # fmt: skip
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "over_bins"))
    session = open_onnx(save(model, promised, tmp_path / "x.onnx"))
    with pytest.raises(RunError, match=r"logits has shape \(1, 49\), its contract states \[1, 3\]"):
        session.run({"features": FEATURES})


def test_a_graph_that_needs_all_memory_fails_in_a_message(tmp_path: Path) -> None:
    model = graph(contract())
    size = onnx.numpy_helper.from_array(np.array([1 << 45]), "size")
    model.graph.initializer.append(size)
    last = model.graph.node.pop()
    model.graph.node.extend([
        helper.make_node("ConstantOfShape", ["size"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["none"], keepdims=0),
        helper.make_node("MatMul", ["mean", "matrix"], ["plain"]),
        helper.make_node("Add", ["plain", "none"], ["logits"]),
    ])  # fmt: skip
    assert last.output[0] == "logits"
    path = save(model, contract(), tmp_path / "x.onnx")
    with pytest.raises(RunError, match=r"x\.onnx"):
        open_onnx(path).run({"features": FEATURES})


def test_without_onnxruntime_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'aftersound\[onnx\]'"):
        open_onnx(write_toy(tmp_path / "toy.onnx"))


@pytest.mark.parametrize("place", ["graph", "branch", "function"])
def test_operators_that_repeat_others_are_refused(tmp_path: Path, place: str) -> None:
    promised = contract("static")
    model = graph(promised)
    loop = helper.make_node("Loop", ["turns", "on", "logits"], ["late"])
    if place == "graph":
        model.graph.node.append(loop)
    elif place == "branch":
        branch = helper.make_graph([loop], "branch", [], [])
        model.graph.node.append(helper.make_node("If", ["on"], ["late"], then_branch=branch))
    else:
        opsets = [helper.make_opsetid("", 20)]
        model.functions.append(helper.make_function("own", "f", [], ["late"], [loop], opsets))
    message = refused(save(model, promised, tmp_path / "loop.onnx"), "onnx")
    assert "operators that repeat others (Loop)" in message


def test_operators_are_those_that_onnx_reads(tmp_path: Path) -> None:
    model = onnx.load(write_toy(tmp_path / "toy.onnx", attention=True))
    content = model.SerializeToString()
    assert sorted(operators(content)) == sorted(node.op_type for node in model.graph.node)
    for end in range(0, len(content), 7):  # of what is cut the name may be, and there is no error
        for found in operators(content[:end]):
            assert any(name.startswith(found) for name in operators(content))
