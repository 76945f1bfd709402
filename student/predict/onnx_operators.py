"""The operators in an ONNX file, read from its bytes: whoever predicts has onnxruntime alone.

A message of protobuf is fields of a number, a wire type and a value; those numbers that lead to an
operator's name are of onnx.proto3. Other fields, weights among them, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
# What the fields of each message hold, by number.
_FIELDS = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node"},
    "function": {7: "node"},
    "node": {4: "operator", 5: "attribute"},
    "attribute": {6: "graph", 11: "graph"},
}


def operators(content: bytes) -> Iterator[str]:
    """Yield the operators of a model's graph, of its functions and of graphs that nodes hold.

    What is no message of protobuf from some place on yields nothing more of it: onnxruntime says why.
    """
    waiting = [("model", memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        if kind == "operator":
            yield bytes(message).decode(errors="replace")
            continue
        known = _FIELDS[kind]
        try:
            waiting += [(known[number], held) for number, held in _held(message) if number in known]
        except (IndexError, ValueError):
            continue


def _held(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and bytes of each field that holds bytes, which messages and texts are."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            _, at = _varint(message, at)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire == _EIGHT_BYTES else 4
        elif wire == _BYTES:
            size, at = _varint(message, at)
            yield number, message[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("more than 64 bits")
