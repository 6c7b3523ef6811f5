"""A local stand-in for the Hugging Face hub, with the data sets REVISION/USER/NAME: listed, and read by range."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from range_server import Handler

TOKEN = "hf_right"
"""Opens the data sets of the user "private"."""


class HubHandler(Handler):
    def do_HEAD(self) -> None:  # noqa: N802
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802
        url = urlsplit(self.path)
        kind, *parts = [unquote(part) for part in url.path.removeprefix("/api").strip("/").split("/")]
        user, name, verb, revision, *inside = [*parts, "", "", "", ""][: max(4, len(parts))]
        root = self.server.root / (revision or "main") / user / name
        allowed = user != "private" or self.headers.get("Authorization") == f"Bearer {TOKEN}"
        path = root.joinpath(*inside)
        if kind != "datasets" or not (self.server.root / "main" / user / name).is_dir() or not allowed:
            self.refuse(404 if allowed and self.headers.get("Authorization") else 401, "RepoNotFound")
        elif not root.is_dir():
            self.refuse(404, "RevisionNotFound")
        elif not path.exists():
            self.refuse(404, "EntryNotFound")
        elif user == "gated" and verb == "resolve":
            self.refuse(403, "GatedRepo")
        elif verb == "resolve":
            self.send_bytes(path.read_bytes())
        elif verb == "tree":
            found = path.rglob("*") if parse_qs(url.query).get("recursive") == ["true"] else path.iterdir()
            self.answer([entry_of(each, root) for each in sorted(found)])
        else:
            self.answer({"id": f"{user}/{name}", "sha": "0" * 40})

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, value: object) -> None:
        self.send_bytes(json.dumps(value).encode())


def entry_of(path: Path, root: Path) -> dict[str, object]:
    """Return a file or folder as the hub lists it."""
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}
    data = path.read_bytes()
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
