"""Every logger has the same names and steps, those of ``metrics.jsonl``, also where a run goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cache_schema.errors import RunError
from student.training.loggers import ALWAYS, LOGGERS
from student.training.loggers.session import LoggerSession, logger_class

HISTORY: list[dict[str, Any]] = [
    {
        "epoch": epoch,
        "train_loss_total": 1.5 / epoch,
        "train_loss_logits@b": 0.25,
        "validation_accuracy": 0.1 * epoch,
        "teacher_train": None,
        "seconds": 2.0,
    }
    for epoch in (1, 2, 3)
]

# Two sessions of one run, as a kill and a second start make them; then what the place has.
PROGRAM = """
import json, sys
from pathlib import Path
from student.training.loggers.session import LoggerSession
name, history = sys.argv[1], json.loads(sys.argv[2])
names = [] if name == "tensorboard" else [name]
run = Path("run"); run.mkdir()
for first, last in ((0, 2), (2, 3)):
    session = LoggerSession(names, run, {"student": "tc-resnet", "recipe": {"epochs": 3}}, print)
    session.begin(history[:first])
    for entry in history[first:last]:
        session.extend(entry)
    session.close()
"""
READ = {
    "tensorboard": """
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
events = LegacyEventFileLoader(str(next(Path("run/tensorboard").iterdir()))).Load()
found = [(v.tag, e.step, v.simple_value) for e in events for v in e.summary.value]
""",
    "wandb": """
# LevelDB's log: 7 bytes, then blocks of 32 KiB of records with CRC, length and place (1 whole, 4 last).
import struct, wandb
wandb.teardown()  # its process writes the rest
from wandb.proto.wandb_internal_pb2 import Record
data, at, parts, found = next(Path("wandb/latest-run/").glob("*.wandb")).read_bytes(), 7, b"", []
while at < len(data):
    left = 32768 - at % 32768
    if left < 7:
        at += left
        continue
    _, size, place = struct.unpack_from("<IHB", data, at)
    parts += data[at + 7 : at + 7 + size]
    at += 7 + size
    if place not in (1, 4):
        continue
    record, parts = Record.FromString(parts), b""
    items = {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
    step = items.pop("_step", record.history.step.num)
    found += [(key, step, value) for key, value in items.items() if key[0] != "_"]
""",
    "mlflow": """
from mlflow import MlflowClient
client, (known,) = MlflowClient(), json.loads(Path("run/loggers.json").read_text()).values()
points = [p for key in client.get_run(known).data.metrics for p in client.get_metric_history(known, key)]
found = [(p.key.replace("logits:b", "logits@b"), p.step, p.value) for p in points]
""",
    "clearml": """
from clearml import Task
folder = sorted(Path(".clearml").rglob("metrics.jsonl"), key=lambda file: file.stat().st_mtime)[-1]
points = [point for line in folder.read_text().splitlines() for point in json.loads(line)]
found = [(p["metric"], p["iter"], p["value"]) for p in points if p["type"] == "training_stats_scalar"]
""",
}
OFFLINE = {
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "CLEARML_OFFLINE_MODE": "1",
    "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
}


def expected() -> list[list[Any]]:
    return sorted(
        [name, entry["epoch"], pytest.approx(value)]
        for entry in HISTORY
        for name, value in entry.items()
        if isinstance(value, float)
    )


@pytest.mark.parametrize("name", LOGGERS)
def test_names_and_steps_are_those_of_the_runs_metrics(name: str, tmp_path: Path) -> None:
    library = LOGGERS[name].rpartition(":")[0].rpartition(".")[2]
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed: pip install 'aftersound[{name}]'")
    program = f"{PROGRAM}{READ[name]}print(json.dumps(sorted(found)))"
    done = subprocess.run(
        [sys.executable, "-c", program, name, json.dumps(HISTORY)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **OFFLINE},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == expected()


@pytest.mark.parametrize("name", [name for name in LOGGERS if name != ALWAYS])
def test_a_logger_that_is_not_installed_names_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("student.training.loggers.session.find_spec", lambda _: None)
    with pytest.raises(Exception, match="pip install") as refused:
        logger_class(name)
    assert str(refused.value) == (f"--logger {name} needs {name}: pip install 'aftersound[{name}]'")


class Broken:
    """A server that is there at first."""

    id, library = "7", "json"

    def __init__(self, *_: Any) -> None: ...

    def begin(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None:
        raise ConnectionError("no route to host\nmore")

    def close(self) -> None:
        raise AssertionError("it is left out")


def test_a_logger_that_fails_is_left_out_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    monkeypatch.setattr("student.training.loggers.session.load_plugin", _load)
    session = LoggerSession(["broken"], tmp_path, {}, messages.append)
    session.begin([])
    for entry in HISTORY:
        session.extend(entry)
    session.close()
    assert messages == ["warning: logger broken is left out: ConnectionError: no route to host"]
    assert json.loads((tmp_path / "loggers.json").read_text()) == {"broken": "7"}


@pytest.mark.parametrize("known", [False, True])
def test_a_logger_that_cannot_be_opened_is_an_error_before_the_training(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: Any) -> None:
        raise PermissionError("no key")

    monkeypatch.setattr(Broken, "__init__", closed)
    monkeypatch.setattr("student.training.loggers.session.load_plugin", _load)
    if known:
        (tmp_path / "loggers.json").write_text('{"broken": "7"}')
    with pytest.raises(RunError) as refused:
        LoggerSession(["broken"], tmp_path, {}, print)
    again = f", delete {tmp_path / 'loggers.json'} for a new run there" if known else ""
    assert str(refused.value) == (
        "logger broken cannot be opened: PermissionError: no key\nNothing was trained. Repair that"
        f"{again}, or leave --logger broken out."
    )


def _load(own: dict[str, str], name: str, kind: str) -> Any:
    from cache_schema.plugins import load_plugin

    return Broken if name == "broken" else load_plugin(own, name, kind)
