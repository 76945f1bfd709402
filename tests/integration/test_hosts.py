"""Several hosts, each with a network and a corpus of its own, at one store: the bytes of one machine.

    AFTERSOUND_HOSTS=1 pytest -n 0 tests/integration/test_hosts.py

They are namespaces of Linux, which root may make, and take minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

import pytest
from commands import cache_tones, command, succeeded, write_tones
from compare_runs import assert_same_run
from hosts import Host, ended, hosts, skip_without_networks
from object_server import SECRET
from small_cache import tree_bytes

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
SERVER = Path(__file__).resolve().parents[1] / "helpers" / "object_server.py"
DIGESTS = """
import hashlib, json
from cache_schema.store.address import cache_path
from cache_schema.store.cloud import CloudObjects

found = CloudObjects(cache_path("s3://bucket/c.zarr"))
print(json.dumps({key: hashlib.sha256(found.get(key)).hexdigest() for key in found.list()}))
"""
# Dask's default for a worker that is silent is five minutes.
PATIENCE = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s"}
COMMITTED = """
import time
from cache_schema.store.address import cache_path
from cache_schema.store.cloud import CloudObjects

found = CloudObjects(cache_path("s3://bucket/c.zarr"))
while not any("/commits/" in key for key in found.list()):
    time.sleep(0.02)
"""


@pytest.fixture
def three() -> Iterator[list[Host]]:
    if "AFTERSOUND_HOSTS" not in os.environ:
        pytest.skip("takes minutes; by hand: AFTERSOUND_HOSTS=1")
    skip_without_networks()
    with hosts(3) as made:
        yield made


class Cluster:
    """A store and a scheduler on the first host, a worker with its own corpus on each other one."""

    def __init__(self, made: list[Host], folder: Path, running: ExitStack) -> None:
        self.first, self.kept = made[0], folder / "store"
        self.kept.mkdir()
        self.corpus = write_tones(folder / "tones", per_class=4)
        served = self._running(
            running, made[0].start(str(SERVER), self.kept, "0.02", made[0].address)
        )
        assert served.stdout is not None
        port = served.stdout.readline().strip()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{made[0].address}:{port}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
        self.scheduler = f"tcp://{made[0].address}:8786"
        words = ("scheduler", "--host", self.scheduler, "--no-dashboard", "--no-show")
        self._running(running, made[0].start("dask", *words, **PATIENCE))
        for number, host in enumerate(made[1:]):
            own = shutil.copytree(self.corpus, folder / f"own-{number}")
            words = ("worker", self.scheduler, "--nthreads", "1", "--no-dashboard", "--no-nanny")
            worker = host.start("dask", *words, mounts={self.corpus: own}, **self.environment)
            self._running(running, worker)

    @staticmethod
    def _running(running: ExitStack, process: Popen[str]) -> Popen[str]:
        running.enter_context(process)
        running.callback(process.kill)
        return process

    def precompute(self) -> Popen[str]:
        """Start the batch stage on the first host."""
        return self.first.start("precompute-teacher", *self.words, "--scheduler", self.scheduler,
                                "--out", "s3://bucket/c.zarr", **self.environment)  # fmt: skip

    def wait_for_a_commit(self, folder: Path) -> None:
        """Wait until a unit is done."""
        (folder / "wait.py").write_text(COMMITTED)
        assert ended(self.first.start(str(folder / "wait.py"), **self.environment))[0] == 0

    @property
    def words(self) -> tuple[object, ...]:
        """What is computed."""
        return (f"folder:{self.corpus}", "--teacher", "toy", "--unit-rows", 1)


@pytest.mark.parametrize("unplugged", [False, True], ids=["", "one is cut off"])
def test_two_workers_elsewhere_fill_a_store(
    three: list[Host], tmp_path: Path, unplugged: bool
) -> None:
    with ExitStack() as running:
        cluster = Cluster(three, tmp_path, running)
        process = cluster.precompute()
        if unplugged:
            cluster.wait_for_a_commit(tmp_path)
            three[2].unplug()
        code, output, errors = ended(process)
        assert code == 0, output + errors
        local = tmp_path / "local"
        succeeded(command("precompute-teacher", *cluster.words, "--out", local))
        (tmp_path / "digests.py").write_text(DIGESTS)
        shown = cluster.first.start(str(tmp_path / "digests.py"), **cluster.environment)
        digests = {key: hashlib.sha256(data).hexdigest() for key, data in tree_bytes(local).items()}
        assert json.loads(ended(shown)[1]) == digests


def test_two_hosts_train_to_the_bits_of_one(three: list[Host], tmp_path: Path) -> None:
    cache = cache_tones(tmp_path / "tones")
    words = (
        cache, "--student", "tc-resnet", "--epochs", "2", "--batch-size", "4", "--device", "cpu",
        "--distill", "logits=0.5", "--lanes", "2",
    )  # fmt: skip
    alone, both = tmp_path / "alone", tmp_path / "both"
    succeeded(command("train-student", *words, "--out", alone))
    shared = {"MASTER_ADDR": three[1].address, "MASTER_PORT": "29500", "WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    processes = [
        host.start("train-student", *words, "--out", both, **shared, RANK=str(rank))
        for rank, host in enumerate(three[1:])
    ]
    ends = [ended(process) for process in processes]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert_same_run(both, alone)
