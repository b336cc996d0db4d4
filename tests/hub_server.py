"""A stand-in of the hub's HTTP interface on the loopback address: enough to list and download pinned files.

It holds repositories in memory, each file at one revision, and writes down every request.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Fault:
    """What happens to the next `times` requests of `method` whose path holds `part`."""

    part: str
    times: int = 1
    method: str = "GET"
    status: int = 0  # answer with this status instead of the file
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # break the connection after so many bytes of the body
    seconds: float = 0.0  # wait before answering
    body: bytes | None = None  # other content of the same size


class Hub:
    """Repositories by (kind, name): the kind is `datasets` or `models`, a repository has one revision."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], tuple[str, dict[str, bytes]]] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.address = ""

    def add(self, kind: str, name: str, revision: str, files: dict[str, bytes]) -> None:
        self.repositories[kind, name] = (revision, files)

    def revisions(self) -> set[str]:
        """Every revision that was asked for."""
        asked = set()
        for request in self.requests:
            parts = request.partition(" ")[2].partition("?")[0].split("/")
            for word in ("revision", "tree", "paths-info", "resolve"):
                if word in parts[:-1]:
                    asked.add(parts[parts.index(word) + 1])
        return asked


class _Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_GET

    def _fault(self) -> Fault | None:
        for fault in self.server.hub.faults:
            if fault.times > 0 and fault.method == self.command and fault.part in self.path:
                fault.times -= 1
                return fault
        return None

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if fault := self._fault():
            time.sleep(fault.seconds)
            if fault.status:
                status, body, headers = fault.status, b"{}", {"Content-Type": "application/json", **fault.headers}
            elif fault.body is not None:
                body = fault.body
            elif fault.cut is not None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: fault.cut])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _missing(self, code: str) -> None:
        self._json({"error": code}, 404, {"X-Error-Code": code, "X-Error-Message": code})

    def _answer(self) -> None:
        hub: Hub = self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub.requests.append(f"{self.command} {self.path}")
        address = urlsplit(self.path)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        api = parts[0] == "api"
        parts = parts[1:] if api else parts
        kind = parts[0] if parts[0] in ("datasets", "models") else "models"
        parts = parts[1:] if parts[0] == kind else parts
        found = hub.repositories.get((kind, "/".join(parts[:2])))
        if found is None:
            return self._missing("RepoNotFound")
        revision, files = found
        action, asked = parts[2:4] if len(parts) > 3 else ("revision", revision)
        path = "/".join(parts[4:])
        if asked != revision:
            return self._missing("RevisionNotFound")
        if not api:
            return self._file(files.get(path), revision)
        if action == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self._json({"id": "/".join(parts[:2]), "sha": revision, "siblings": siblings, "private": False,
                               "tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False})  # fmt: skip
        if action == "tree":
            recursive = parse_qs(address.query).get("recursive", ["false"])[0].lower() in ("true", "1")
            return self._tree(files, path, recursive)
        if action == "paths-info":
            form = parse_qs(body.decode())
            wanted = json.loads(body)["paths"] if body.startswith(b"{") else form.get("paths", [])
            return self._json([_described(name, files[name]) for name in wanted if name in files])
        return self._missing("EntryNotFound")

    def _tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> None:
        prefix = f"{folder}/" if folder else ""
        inside = {name: content for name, content in files.items() if name.startswith(prefix)}
        if not inside:
            return self._missing("EntryNotFound")
        below = {name: name[len(prefix) :].split("/") for name in inside}
        folders = {prefix + "/".join(parts[:depth]) for parts in below.values() for depth in range(1, len(parts))}
        listed = [_described(name, inside[name]) for name, parts in below.items() if recursive or len(parts) == 1]
        listed += [
            {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
            for name in sorted(folders)
            if recursive or "/" not in name[len(prefix) :]
        ]
        return self._json(listed)

    def _file(self, content: bytes | None, revision: str) -> None:
        if content is None:
            return self._missing("EntryNotFound")
        headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": revision, "Content-Type": "application/octet-stream"}
        headers["Accept-Ranges"] = "bytes"
        wanted = self.headers.get("Range")
        if not wanted:
            return self._send(200, content, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) if last else len(content) - 1, len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return self._send(206, content[start : end + 1], headers)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _described(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers at `hub.address` until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = hub  # type: ignore[attr-defined]
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
