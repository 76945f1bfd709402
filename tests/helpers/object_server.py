"""A store with the interface of S3 that fails on demand, and a plain web server of the same objects.

A test says which request fails, and how; what was requested is counted.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

BUCKET = "bucket"
PAGE = 1000
SECRET = "not-for-any-log-7261"

Fault = Callable[[str, str, int], str | None]
"""Given a method, a key and the number of the request: what goes wrong, if anything.

``"500"``, ``"503"``, ``"429"``, ``"409"``: the answer, and nothing is done; ``"reset"``: no answer, and
nothing is done; ``"truncated"``: half of the answer; ``"lost 503"``, ``"lost reset"``: what was
requested is done, and another answer or none is given; ``"flipped"``: an answer with a flipped bit.
"""


@dataclass
class ObjectServer:
    """A server on this machine with the objects of one bucket."""

    objects: dict[str, bytes] = field(default_factory=dict)
    fault: Fault = lambda method, key, number: None
    conditional: bool = True
    parts: bool | Literal["rejected"] = True
    lists_after_s: float = 0.0
    delay_s: float = 0.0
    requests: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0
    _since: dict[str, float] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def web(self, key: str) -> str:
        """Address of an object by plain HTTP."""
        return f"http://127.0.0.1:{self.port}/{BUCKET}/{key}"

    def count(self, method: str = "", part: str = "") -> int:
        """Requests so far of a method, for keys that contain a text."""
        return sum(method in ("", one) and part in key for one, key in self.requests)

    def note(self, method: str, key: str) -> str | None:
        """Count a request; gives what goes wrong with it."""
        with self.lock:
            self.requests.append((method, key))
            number = len(self.requests)
        time.sleep(self.delay_s)
        return self.fault(method, key, number)

    def put(self, key: str, data: bytes, headers: Any) -> int:
        """Write an object under the conditions of a request; gives the status."""
        with self.lock:
            there = self.objects.get(key)
            if self.conditional and headers.get("If-None-Match") == "*" and there is not None:
                return 412
            wanted = headers.get("If-Match")
            if self.conditional and wanted is not None and (there is None or wanted != etag(there)):
                return 412
            self.objects[key] = data
            self._since.setdefault(key, time.monotonic())
            return 200

    def listed(self, prefix: str) -> list[str]:
        """Keys that lists have by now."""
        with self.lock:
            old = time.monotonic() - self.lists_after_s
            return sorted(
                k for k in self.objects if k.startswith(prefix) and self._since.get(k, 0) <= old
            )


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms for the answer to its headers
    server: Any

    def log_message(self, *_: object) -> None:
        """Tests count requests; nothing is printed."""

    def _serve(self) -> None:
        found, store = urlsplit(self.path), self.server.store
        key = unquote(found.path).removeprefix(f"/{BUCKET}").strip("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = store.note(self.command, key) or ""
        if fault == "reset":
            return self._reset()
        if fault.isdigit():
            return self._answer(int(fault), b"<Error><Code>SlowDown</Code></Error>")
        status, data, headers = self._done(store, key, parse_qs(found.query), body)
        if fault == "lost reset":
            return self._reset()
        if fault == "lost 503":
            return self._answer(503, b"")
        if fault == "flipped" and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        return self._answer(status, data, headers, truncated=fault == "truncated")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve

    def _done(
        self, store: ObjectServer, key: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        if "list-type" in query:
            return 200, _page(store, query), {}
        if self.command == "PUT":
            status = store.put(key, body, self.headers)
            return status, b"", {"ETag": etag(body)} if status == 200 else {}
        if self.command == "POST":  # several deletions at once
            names = re.findall("<Key>([^<]*)</Key>", body.decode())
            for name in names:
                store.objects.pop(unescape(name), None)
            gone = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in names)
            return 200, f"<DeleteResult>{gone}</DeleteResult>".encode(), {}
        data = store.objects.get(key)
        if data is None:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", {}
        headers = {"ETag": etag(data), "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        wanted = re.fullmatch("bytes=([0-9]+)-([0-9]*)", self.headers.get("Range") or "")
        if wanted is None:
            return 200, data, headers
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        if not store.parts:
            return 200, data, headers
        if first > last or store.parts == "rejected":
            return 416, b"<Error><Code>InvalidRange</Code></Error>", headers
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return 206, data[first : last + 1], headers

    def _answer(
        self,
        status: int,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        truncated: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if truncated else data)
        if truncated:
            self._reset()

    def _reset(self) -> None:
        self.wfile.flush()
        self.close_connection = True


def _page(store: ObjectServer, query: dict[str, list[str]]) -> bytes:
    prefix = query.get("prefix", [""])[0]
    after = query.get("continuation-token", query.get("start-after", [""]))[0]
    keys = [key for key in store.listed(prefix) if key > after]
    more = len(keys) > PAGE
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(store.objects[key])}</Size><ETag>e</ETag>"
        "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in keys[:PAGE]
    )
    last = escape(keys[:PAGE][-1]) if more else ""
    token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
    return (
        f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{entries}{token}"
        "</ListBucketResult>"
    ).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def object_server(host: str = "127.0.0.1", **facts: Any) -> Iterator[ObjectServer]:
    """Run a server as long as the block lasts."""
    with _Server((host, 0), _Handler) as server:
        store = ObjectServer(port=server.server_address[1], **facts)
        server.store = store  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


def main(folder: str, delay_s: str, host: str = "127.0.0.1") -> None:
    """Serve the files of a folder until the standard input ends; prints the port first."""
    files = {p.relative_to(folder).as_posix(): p for p in Path(folder).rglob("*") if p.is_file()}
    objects = {key: path.read_bytes() for key, path in files.items()}
    with object_server(host, objects=objects, delay_s=float(delay_s)) as server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
