"""What the device card holds of an export: its tensors, files, costs, origin and versions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from cache_schema.front_ends import FRONT_ENDS, FrontEnd
from cache_schema.plugins import plugin_origin
from cache_schema.reader import Cache
from student.export import EXPORTERS
from student.export.card import origin_of
from student.export.cost import (
    count_macs,
    count_parameters,
    machine,
    measure_latency,
    peak_activation_bytes,
)
from student.export.forms import FormSpec, build_graph
from student.export.interface import Exporter, Graph, Runner
from student.export.parity import Parity
from student.export.request import ExportRequest
from student.models.interface import Student
from student.predict.contract import Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """What is written and what it is tried on."""

    request: ExportRequest
    exporter: Exporter
    config: dict[str, Any]
    student: Student
    spec: FormSpec
    why_length: str
    cache: Cache | None
    graph: Graph
    contract: Contract

    @property
    def front_end(self) -> FrontEnd:
        """The student's front end."""
        return FRONT_ENDS[self.student.front_end]

    @property
    def calibrates(self) -> bool:
        """Whether clips are needed to find the ranges of int8."""
        return self.request.int8 and self.exporter.calibrates(self.graph)

    @property
    def streaming(self) -> bool:
        """Whether a step is written."""
        return self.spec.kind == "step"


def card_of(
    job: ExportJob,
    draft: Path,
    runner: Runner,
    parity: dict[str, Parity],
    quantised: str,
    calibrated: str,
    vectors: int,
) -> dict[str, Any]:
    """Collect the card, ready for JSON, when all other files of the draft are written."""
    return {
        "format": job.request.to,
        "precision": "int8" if job.request.int8 else "float32",
        "quantised": quantised,
        "contract": job.contract.model_dump(mode="json"),
        "why_length": job.why_length,
        "tensors": {
            "inputs": [asdict(facts) for facts in runner.inputs],
            "outputs": [asdict(facts) for facts in runner.outputs],
        },
        "files": {path.name: path.stat().st_size for path in sorted(draft.iterdir())},
        "parity": {name: found.document() for name, found in parity.items()},
        "real_clips": job.cache is not None,
        "calibration": calibrated,
        "cost": _cost(job, runner),
        "format_facts": job.exporter.facts(draft / job.exporter.file_name),
        "machine": machine(),
        "test_vectors": vectors,
        "origin": {**origin_of(job.config), **_teacher(job)},
        "versions": _versions(job),
    }


def _cost(job: ExportJob, runner: Runner) -> dict[str, Any]:
    """Cost of the form that takes features; latency of the very file."""
    plain = build_graph(job.student, replace(job.spec, takes="features"))
    inputs = [tensor[:1] for tensor in plain.inputs.values()]
    example = {name: tensor[:1].numpy() for name, tensor in job.graph.inputs.items()}
    arguments = [torch.from_numpy(array) for array in example.values()]
    with torch.no_grad():
        latency = {
            "file": measure_latency(lambda: runner.run(example)).document(),
            "PyTorch": measure_latency(lambda: job.graph.module(*arguments)).document(),
        }
    return {
        "of": "a step" if job.streaming else f"a clip of {inputs[0].shape[1]} frames",
        "parameters": count_parameters(plain.module),
        "macs": count_macs(plain.module, inputs),
        "peak_activation_bytes": peak_activation_bytes(plain.module, inputs),
        "latency": latency,
    }


def _teacher(job: ExportJob) -> dict[str, Any]:
    """Teachers of the cache, where it is of the corpus that the run was trained on."""
    cache = job.cache
    if cache is None or cache.manifest.corpus.fingerprint != job.config.get("corpus_fingerprint"):
        return {}
    facts = [part.plan.teacher or {} for part in cache.parts]
    names = [f"{f.get('id', 'unknown')} ({f.get('family', 'unknown')})" for f in facts if f]
    return {"teachers_of_the_cache": list(dict.fromkeys(names))}


def _versions(job: ExportJob) -> dict[str, str]:
    names = ("aftersound", "torch", "numpy", *job.exporter.packages)
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    origin = plugin_origin(EXPORTERS, job.request.to, "exporter")
    return found | ({"exporter": origin} if origin else {})
