"""A local HTTP store: the files below a folder, whole or by range, and faults that a test asks for."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Store(ThreadingHTTPServer):
    """Serves `root`; the next requests for bytes of a file fail as `faults` says: "drop", "half" or a status."""

    def __init__(self, root: Path, handler: type[SimpleHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.root = root
        self.faults: list[str] = []
        self.num_bytes = 0
        """Sent of files so far."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(SimpleHTTPRequestHandler):
    server: Store

    def __init__(self, request: Any, address: Any, server: Store) -> None:
        super().__init__(request, address, server, directory=str(server.root))

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_bytes(path.read_bytes())
        else:
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def send_bytes(self, data: bytes) -> None:
        """Send the range of these bytes that is asked for, or a fault."""
        fault, size = self.server.faults.pop(0) if self.server.faults else "", len(data)
        if fault.isdigit():
            self.send_error(int(fault))
        if fault.isdigit() or fault == "drop":
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked:
            data = data[int(asked[1]) : int(asked[2]) + 1]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.copyfile(io.BytesIO(data[: len(data) // 2] if fault == "half" else data), self.wfile)
        self.server.num_bytes += len(data)


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a server answer, in a thread, while the context is there."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving(root: Path, handler: type[Handler] = Handler) -> Iterator[Store]:
    """Give a store of the files below `root`, which is there while the context is."""
    store = Store(root, handler)
    with running(store):
        yield store
