"""A stand-in for the hub: the few addresses that huggingface_hub calls to make, fill, list and read a data set."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from range_server import running

TOKEN = "hf_owner"
READER = "hf_reader"
"""A token that may read public data sets, and nothing else."""
REPOSITORY = r"(?P<name>[^/]+/[^/]+?)"


@dataclass
class Repository:
    """A data set: its branches as commits, and the files of each commit."""

    private: bool
    branches: dict[str, list[str]] = field(default_factory=lambda: {"main": ["0" * 40]})
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})

    def find(self, revision: str) -> str | None:
        """Return the commit of a branch, or of a commit."""
        return self.branches[revision][-1] if revision in self.branches else {c: c for c in self.commits}.get(revision)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches[revision][-1]]


@dataclass
class Hub:
    """The state of the stand-in."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files, by their SHA-256."""
    requests: list[str] = field(default_factory=list)
    refuse: str = ""
    """Requests that match this pattern are answered by 400."""
    stall: threading.Event | None = None
    """Uploads of large files set it, read half of the file, and then wait for the end of the connection."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        request = f"{self.command} {path}"
        self.hub.requests.append(request)
        if self.hub.refuse and re.search(self.hub.refuse, request):
            self._send({"error": "refused for the test"}, 400)
            return
        for pattern, method in ROUTES.items():
            if found := re.fullmatch(pattern, request):
                method(self, **found.groupdict())
                return
        self._send({"error": f"no such address: {request}"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815 (the names that http.server calls)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, value: object, status: int = 200, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _writes(self) -> bool:
        """Return whether the token may write, or answer that it may not."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token != TOKEN:
            self._send({"error": "not allowed"}, 403 if token else 401)
        return token == TOKEN

    def _repository(self, name: str) -> Repository | None:
        """Return what the token may see, or answer as the hub does: without a token it never says what exists."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and token != TOKEN):
            self._send({"error": "not found"}, 404 if token else 401, X_Error_Code="RepoNotFound" if token else "")
            return None
        return repository

    def create(self) -> None:
        asked = json.loads(self._body())
        if not self._writes():
            return
        name = f"{asked['organization']}/{asked['name']}"
        exists = name in self.hub.repositories
        if not exists:
            self.hub.repositories[name] = Repository(asked.get("visibility") == "private")
        self._send({"url": f"{self.hub.url}/datasets/{name}"}, 409 if exists else 200)

    def branch(self, name: str, revision: str) -> None:
        self._body()
        if not self._writes() or (repository := self._repository(name)) is None:
            return
        exists = revision in repository.branches
        if not exists:
            repository.branches[revision] = list(repository.branches["main"])
        self._send({}, 409 if exists else 200)

    def info(self, name: str, revision: str | None = None) -> None:
        if (repository := self._repository(name)) is None:
            return
        commit = repository.find(revision or "main")
        if commit is None:
            self._send({"error": "no such revision"}, 404, X_Error_Code="RevisionNotFound")
            return
        siblings = []
        for file, data in repository.commits[commit].items():
            large = {"lfs": {"sha256": _hash(data), "size": len(data), "pointerSize": 1}} if _is_large(file) else {}
            siblings.append({"rfilename": file, "size": len(data), "blobId": "0"} | large)
        self._send({"id": name, "sha": commit, "private": repository.private, "siblings": siblings})

    def validate(self) -> None:
        card = json.loads(self._body())["content"]
        errors = [{"message": '"license" must be one of ...'}] if 'license: "made-up"' in card else []
        self._send({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name: str, revision: str) -> None:
        asked = json.loads(self._body())["files"]
        modes = [(file["path"], "lfs" if _is_large(file["path"]) else "regular") for file in asked]
        self._send({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]})

    def batch(self, name: str) -> None:
        asked = json.loads(self._body())["objects"]
        objects = []
        for thing in asked:
            upload = {"actions": {"upload": {"href": f"{self.hub.url}/objects/{thing['oid']}"}}}
            objects.append(thing | ({} if thing["oid"] in self.hub.objects else upload))
        self._send({"objects": objects, "transfer": "basic"})

    def put(self, oid: str) -> None:
        if self.hub.stall is not None:
            self.rfile.read(100)
            self.hub.stall.set()
            self.rfile.read()
            return
        data = self._body()
        if _hash(data) == oid:
            self.hub.objects[oid] = data
        self._send({}, 200 if _hash(data) == oid else 400)

    def commit(self, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self._body().splitlines()]
        if not self._writes() or (repository := self._repository(name)) is None:
            return
        files = dict(repository.files(revision))
        for key, value in ((line["key"], line["value"]) for line in lines):
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        commit = _hash(json.dumps([repository.branches, lines]).encode())[:40]
        repository.commits[commit] = files
        repository.branches[revision].append(commit)
        self._send({"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{commit}", "commitOid": commit})

    def resolve(self, name: str, revision: str, file: str) -> None:
        if (repository := self._repository(name)) is None:
            return
        commit = repository.find(revision)
        assert commit is not None
        data = repository.commits[commit][file]
        self._send(data, ETag=f'"{_hash(data)}"', X_Repo_Commit=commit)


ROUTES = {
    "POST /api/repos/create": _Handler.create,
    "POST /api/validate-yaml": _Handler.validate,
    f"POST /api/datasets/{REPOSITORY}/branch/(?P<revision>.+)": _Handler.branch,
    f"POST /api/datasets/{REPOSITORY}/preupload/(?P<revision>.+)": _Handler.preupload,
    f"POST /api/datasets/{REPOSITORY}/commit/(?P<revision>.+)": _Handler.commit,
    f"GET /api/datasets/{REPOSITORY}(/revision/(?P<revision>.+))?": _Handler.info,
    f"POST /datasets/{REPOSITORY}.git/info/lfs/objects/batch": _Handler.batch,
    "PUT /objects/(?P<oid>.+)": _Handler.put,
    f"(GET|HEAD) /datasets/{REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<file>.+)": _Handler.resolve,
}
"""What answers which request."""


def _is_large(file: str) -> bool:
    return not file.endswith((".md", ".csv"))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    """Give a running hub without data sets."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    server.block_on_close = False
    hub.url = f"http://127.0.0.1:{server.server_port}"
    with running(server):
        yield hub
