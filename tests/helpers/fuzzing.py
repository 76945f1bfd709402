"""Odd input and what every command owes its user over it: a message and an exit code, no traceback."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cache_schema.errors import AftersoundError

# A long run: AFTERSOUND_FUZZ=5000 python -m pytest tests/property/test_fuzz_*.py
EXAMPLES = int(os.environ.get("AFTERSOUND_FUZZ", "0"))

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**53, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, "", " ",
    "..", ".", "../up", "a/b", "/etc/passwd", "a\\b", "logits@b", "@", "a@b@c", "NaN", "x" * 5000,
    "\x00", "\n", "\u202e", "zeros", "os:system", [], [[]], [0], [-1], [2**62], ["x"], {}, {"": ""},
    {"a": {"b": [1]}}, "single", "multi", "float16", "int16", "uint8", "uint16", "fixed", "square",
)  # fmt: skip


def fuzzing(examples: int) -> settings:
    """Settings of a fuzz test: so many examples, the same ones each time, or as many as requested."""
    return settings(
        max_examples=EXAMPLES or examples,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


seeds = st.integers(0, 2**32 - 1)


def run(command: click.Command, *arguments: object) -> tuple[int, str]:
    """Run a command in this process; nothing but its own exit codes may come out of it."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{command.name} {arguments}") from result.exception
    assert result.exit_code in (0, 1, 2, 3), result.output
    assert "Traceback" not in result.output
    assert "AFTERSOUND_TRACEBACK" not in result.output, result.output  # nobody foresaw it
    assert result.exit_code == 0 or result.output.strip(), "failed without a word"
    return result.exit_code, result.output


@contextmanager
def only_reported(error_type: type[Exception] = AftersoundError) -> Iterator[None]:
    """Let pass what the program reports of bad input, if anything; nothing else."""
    try:
        yield
    except error_type as error:
        if not str(error).strip():
            raise AssertionError("an error without a word") from error


def mutated_json(content: bytes, dice: random.Random) -> bytes:
    """A JSON document with one to three things wrong with it, or not even a document."""
    if dice.random() < 0.2:
        return mutated_bytes(content, dice)
    document = json.loads(content)
    for _ in range(dice.randint(1, 3)):
        document = _mutated(document, dice)
    text = json.dumps(document)
    if dice.random() < 0.1:
        text = text.replace("{", '{"name": 1, ', 1)  # a key twice
    if dice.random() < 0.1:
        text = text.replace(": 1,", f": {dice.choice(['NaN', '-Infinity', '1e999', '9' * 5000])},")
    if dice.random() < 0.05:
        text = text.replace(": 1", ": " + "[" * 100_000, 1)
    return text.encode()


def mutated_bytes(content: bytes, dice: random.Random, most: int = 6) -> bytes:
    """Bytes with some changed, cut off, doubled or put in."""
    data = bytearray(content)
    for _ in range(dice.randint(1, most)):
        if not data:
            return bytes(data)
        at = dice.randrange(min(len(data), 160) if dice.random() < 0.5 else len(data))
        kind = dice.randrange(5)
        if kind == 0:
            data[at] = dice.choice([0, 1, 127, 128, 255, dice.randrange(256)])
        elif kind == 1:
            data[at : at + 4] = dice.choice(
                [bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\1\0\0\0", dice.randbytes(4)]
            )
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = dice.randbytes(dice.randint(1, 20))
        else:
            data[at:at] = data[at : at + dice.randint(1, 40)]
    return bytes(data)


def _mutated(document: Any, dice: random.Random) -> Any:
    """Change one place of a JSON value."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return dice.choice(ODD_VALUES)
    holder, key = dice.choice(places)
    kind = dice.random()
    if kind < 0.15:
        del holder[key]
    elif kind < 0.25 and isinstance(holder, dict):
        holder[str(dice.choice(ODD_VALUES))] = dice.choice(ODD_VALUES)
    elif kind < 0.35 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * dice.choice([2, -1, 1000, 10**9]) + dice.choice([0, 1])
    else:
        holder[key] = copy.deepcopy(dice.choice(ODD_VALUES))
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value, as the dict or list that holds it and its key there."""
    keys: list[Any] = []
    if isinstance(document, dict):
        keys = list(document)
    elif isinstance(document, list):
        keys = list(range(len(document)))
    for key in keys:
        yield document, key
        yield from _places(document[key])
