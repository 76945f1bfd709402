"""Hosts that are connected by a network and see nothing of each other but that: Linux namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from commands import plain_environment, script


class Host:
    """A host with a network of its own.

    Parameters
    ----------
    number : int
        From 0; host 0 is the switch.
    """

    def __init__(self, number: int) -> None:
        self.name = f"aftersound-{os.getpid()}-{number}"
        self.address = f"10.77.0.{number + 1}"
        self.device = "switch" if number == 0 else "cable"

    def start(
        self, name: str, *arguments: object, mounts: dict[Path, Path] | None = None, **env: str
    ) -> Popen[str]:
        """Start a console script, or a Python file, that has other folders at the places of some."""
        program = [sys.executable, name] if name.endswith(".py") else [script(name)]
        mounting = "".join(
            f"mount --bind '{own}' '{place}'; " for place, own in (mounts or {}).items()
        )
        words = ["ip", "netns", "exec", self.name, "unshare", "--mount", "sh", "-euc"]
        words += [f'{mounting}exec "$@"', "sh", *program, *map(str, arguments)]
        environment = plain_environment() | {"GLOO_SOCKET_IFNAME": self.device} | env
        return Popen(words, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, env=environment)

    def unplug(self) -> None:
        """Cut it off, as a cable that is drawn does: nobody is informed."""
        _ip("-n", self.name, "link", "set", self.device, "down")


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Connect so many hosts."""
    made = [Host(number) for number in range(count)]
    try:
        for host in made:
            _ip("netns", "add", host.name)
            _ip("-n", host.name, "link", "set", "lo", "up")
        switch = made[0]
        _ip("-n", switch.name, "link", "add", switch.device, "type", "bridge")
        for number, host in enumerate(made[1:]):
            end = ("name", host.device, "netns", host.name)
            _ip("-n", switch.name, "link", "add", f"port{number}", "type", "veth", "peer", *end)
            _ip("-n", switch.name, "link", "set", f"port{number}", "master", switch.device, "up")
        for host in made:
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.device)
            _ip("-n", host.name, "link", "set", host.device, "up")
        yield made
    finally:
        for host in made:
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True, check=False)


def ended(process: Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a command that ends by itself."""
    with process:
        output, errors = process.communicate(timeout=300)
        return process.returncode, output, errors


def skip_without_networks() -> None:
    """Skip where networks cannot be made: without root, in most containers, on other systems."""
    try:
        with hosts(2):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        text = getattr(error, "stderr", "") or error
        pytest.skip(f"cannot make networks of its own: {str(text).strip()}")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
