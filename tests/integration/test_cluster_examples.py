"""The files of tests/examples for clusters: run where a stand-in does, else held to what exists."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import PYTHON, command, forking_python, plain_environment, succeeded, write_tones
from distributed.cli import dask_scheduler, dask_worker
from pages import REPOSITORY
from small_cache import tree_bytes

from pipeline.precompute.cli import main as precompute_teacher

EXAMPLES = REPOSITORY / "tests/examples"
COMMANDS = {
    ("dask", "scheduler"): dask_scheduler.main,
    ("dask", "worker"): dask_worker.main,
    ("precompute-teacher",): precompute_teacher,
}
# Started as the real ones are, on this machine: a process for each task, a shell for each host.
SRUN = """#!/usr/bin/env bash
trap 'kill $(jobs -p)' TERM
for task in $(seq "$SLURM_NTASKS"); do "$@" & done
wait
"""
SSH = """#!/usr/bin/env bash
[ "$1 $2" = "-o BatchMode=yes" ] || exit 9
echo "$3" >> "$HOSTS"
exec bash -c "exec env $4"
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("corpus") / "tones", per_class=2)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "c"
    succeeded(command("precompute-teacher", f"folder:{corpus}", "--teacher", "toy", "--out", out))
    return tree_bytes(out)


def run(script: str, folder: Path, *words: object, **environment: str) -> None:
    for name, text in {"srun": SRUN, "ssh": SSH}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    folders = [folder, Path(forking_python()).parent, Path(PYTHON).parent, os.environ["PATH"]]
    paths = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        ["bash", EXAMPLES / script, *map(str, words)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=500,
        env=plain_environment() | {"PATH": paths} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_job_of_slurm_makes_a_cache(
    corpus: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "c"
    run(
        "dask_slurm.sh",
        tmp_path,
        f"folder:{corpus}",
        "toy",
        out,
        SLURM_JOB_ID="7",
        SLURM_NTASKS="1",
    )
    assert tree_bytes(out) == whole
    assert not list(tmp_path.glob("dask-*.json"))


def test_workers_by_ssh_make_a_cache(corpus: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    out, hosts = tmp_path / "c", tmp_path / "hosts"
    words = ("dask_ssh.sh", tmp_path, f"folder:{corpus}", "toy", out, "one", "two")
    run(*words, HERE="127.0.0.1", PORT=port, HOSTS=str(hosts))
    assert tree_bytes(out) == whole
    assert sorted(hosts.read_text().split()) == ["one", "two"]


def check_words(words: list[str]) -> None:
    """Whether a command is one that exists, with options that it has."""
    (name,) = [name for name in COMMANDS if tuple(words[: len(name)]) == name]
    known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)}
    assert {word for word in words[len(name) :] if word.startswith("--")} <= known


@pytest.mark.parametrize("script", ["dask_slurm.sh", "dask_ssh.sh"])
def test_the_scripts_have_options_that_exist(script: str) -> None:
    text = (EXAMPLES / script).read_text(encoding="utf-8").replace("\\\n", " ")
    text = text.replace("${DASK:-dask}", "dask").replace('"', "")
    starts = [*("dask scheduler", "dask worker"), "precompute-teacher"]
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for start in starts:
        (line,) = [line for line in lines if start in line]
        check_words(shlex.split(line[line.index(start) :].rstrip("&) ")))


def test_the_manifest_of_kubernetes_fits_together() -> None:
    text = (EXAMPLES / "dask_kubernetes.yaml").read_text(encoding="utf-8")
    found: dict[tuple[str, str], Any] = {
        (one["kind"], one["metadata"]["name"]): one["spec"] for one in yaml.safe_load_all(text)
    }
    service = found["Service", "aftersound-scheduler"]
    address = f"tcp://aftersound-scheduler:{service['ports'][0]['port']}"
    pods = {name: spec["template"] for (kind, name), spec in found.items() if kind != "Service"}
    for (kind, name), spec in found.items():
        if kind == "Deployment":
            assert spec["selector"]["matchLabels"] == pods[name]["metadata"]["labels"]
    assert service["selector"] == pods["aftersound-scheduler"]["metadata"]["labels"]
    for name, pod in pods.items():
        (container,) = pod["spec"]["containers"]
        words = container["command"]
        check_words(words)
        assert all(isinstance(word, str) for word in words)
        assert name == "aftersound-scheduler" or address in words
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounts == {volume["name"] for volume in pod["spec"].get("volumes", [])}
    (scheduler,) = pods["aftersound-scheduler"]["spec"]["containers"]
    assert str(scheduler["ports"][0]["containerPort"]) in scheduler["command"]
    assert service["ports"][0]["targetPort"] == scheduler["ports"][0]["containerPort"]
