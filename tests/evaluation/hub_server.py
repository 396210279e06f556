"""A small hub on this machine: the calls that pushing and pulling make, answered as the real one does.

It keeps repositories as chains of commits in memory. Large and binary files go through LFS, with pointers in
the tree and a redirect at their download. Faults can be planted: a status, other bytes, a cut connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
LFS_SUFFIXES = (".safetensors", ".png", ".bin", ".pkl", ".gguf")
PAGE = 7
"""Entries per page of a listing; few, so that listings have several pages."""


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(content: bytes) -> bytes:
    oid = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()


@dataclass
class Repo:
    """One repository."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def add(self, branch: str, files: dict[str, bytes], message: str) -> str:
        parent = self.branches.get(branch, "")
        text = json.dumps([parent, message, len(self.commits), sorted(map(git_blob, files.values()))])
        oid = hashlib.sha1(text.encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        self.messages.append(message)
        return oid

    def resolve(self, revision: str) -> str | None:
        oid = self.branches.get(revision, revision)
        return oid if oid in self.commits else None


@dataclass
class Fault:
    """What goes wrong at the next `times` requests that match."""

    method: str
    path: re.Pattern[str]
    status: int
    times: int
    seen: int = 0


@dataclass
class Reply:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, **headers: str) -> Reply:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    @classmethod
    def error(cls, status: int, message: str, code: str = "") -> Reply:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        return cls.json({"error": message}, status, **headers)


class Hub:
    """The state of the hub; the handler below turns requests into calls of it."""

    def __init__(self) -> None:
        self.url = ""
        self.repos: dict[tuple[str, str], Repo] = {}
        self.users = {"hf_writer": ("ann", True), "hf_reader": ("bob", False)}
        self.large: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.served: Callable[[str, bytes], bytes] = lambda name, content: content
        """What is sent in place of a file's bytes."""
        self.cut: set[str] = set()
        """Files whose connection breaks in the middle, each once."""
        self.requests: list[str] = []
        self.lock = threading.Lock()

    # What tests plant

    def fail(self, path: str, status: int, *, method: str = "", times: int = 1_000) -> None:
        """Answer requests whose path matches with a status."""
        self.faults.append(Fault(method, re.compile(path), status, times))

    def put(self, repo_type: str, repo_id: str, files: dict[str, bytes], *, private: bool = False) -> str:
        """Add a commit as somebody with another client would."""
        repo = self.repos.setdefault((repo_type, repo_id), Repo(private))
        return repo.add("main", {".gitattributes": GITATTRIBUTES, **files}, "by hand")

    def files(self, repo_type: str, repo_id: str, branch: str = "main") -> dict[str, bytes]:
        """Return what a branch holds."""
        repo = self.repos[repo_type, repo_id]
        return repo.commits[repo.branches[branch]]

    # What a request comes to

    def answer(self, method: str, url: str, token: str | None, body: bytes, ranged: str | None) -> Reply:
        parts = urlsplit(url)
        path, query = unquote(parts.path), parse_qs(parts.query)
        with self.lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault.method in ("", method) and fault.path.search(path) and fault.seen < fault.times:
                    fault.seen += 1
                    return Reply.error(fault.status, "planted")
            if token is not None and token not in self.users:
                return Reply.error(401, "Invalid credentials in Authorization header")
            for verb, pattern, call in self.routes():
                match = re.fullmatch(pattern, path)
                if verb == method and match is not None:
                    return call(token, body, query, **match.groupdict())
            match = re.fullmatch(
                r"/(?P<kind>datasets/)?(?P<repo_id>.+?)/resolve/(?P<rev>[^/]+)/(?P<name>.+)", path
            )
            if match is not None and method in ("GET", "HEAD"):
                return self.resolve(token, method, ranged, **match.groupdict())
            if path.startswith("/large/") and method in ("GET", "HEAD"):
                if token is not None:
                    return Reply.error(400, "a token was sent to the store of large files")
                return self.send(path.rsplit("/", 1)[-1], self.large[path.split("/")[2]], ranged, {})
        return Reply.error(404, f"no such call: {method} {path}")

    def routes(self) -> Iterator[tuple[str, str, Callable[..., Reply]]]:
        api = r"/api/(?P<kind>datasets|models)/(?P<repo_id>[^/]+/[^/]+)"
        yield "GET", "/api/whoami-v2", self.whoami
        yield "POST", "/api/repos/create", self.create
        yield "POST", "/api/validate-yaml", self.validate
        yield "GET", api, self.info
        yield "GET", api + r"/revision/(?P<rev>.+)", self.info
        yield "GET", api + r"/tree/(?P<rev>[^/]+)(?:/(?P<below>.+))?", self.tree
        yield "POST", api + r"/preupload/(?P<rev>.+)", self.preupload
        yield "POST", api + r"/commit/(?P<rev>.+)", self.commit
        yield "POST", api + r"/branch/(?P<rev>.+)", self.branch
        yield "POST", r"/(?P<kind>datasets/)?(?P<repo_id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch
        yield "PUT", r"/upload/(?P<oid>[0-9a-f]{64})", self.upload
        yield "POST", "/verify", self.verify

    def seen(self, token: str | None, kind: str | None, repo_id: str) -> Repo | Reply:
        """Return a repository if the caller may see it, or what is said otherwise."""
        repo = self.repos.get(("dataset" if (kind or "").startswith("dataset") else "model", repo_id))
        if repo is None or (repo.private and token is None):
            # The real hub does not say whether a private repository exists.
            return Reply.error(401 if token is None else 404, "Repository not found", "RepoNotFound")
        return repo

    def writable(self, token: str | None, kind: str | None, repo_id: str) -> Repo | Reply:
        repo = self.seen(token, kind, repo_id)
        if isinstance(repo, Reply):
            return repo
        if token is None:
            return Reply.error(401, "Unauthorized")
        if not self.may_write(token, repo_id.split("/")[0]):
            return Reply.error(403, "you have no rights to write here")
        return repo

    def may_write(self, token: str, owner: str) -> bool:
        user, writes = self.users[token]
        return writes and owner == user

    def whoami(self, token: str | None, body: bytes, query: Any) -> Reply:
        if token is None:
            return Reply.error(401, "Unauthorized")
        return Reply.json({"name": self.users[token][0], "type": "user", "orgs": []})

    def create(self, token: str | None, body: bytes, query: Any) -> Reply:
        asked = json.loads(body)
        owner = asked["organization"] or self.users[token or ""][0]
        if token is None:
            return Reply.error(401, "Unauthorized")
        if not self.may_write(token, owner):
            return Reply.error(403, "you have no rights to create a repository here")
        repo_id, repo_type = f"{owner}/{asked['name']}", asked.get("type") or "model"
        prefix = "datasets/" if repo_type == "dataset" else ""
        if (repo_type, repo_id) in self.repos:
            return Reply.error(409, "You already created this repository")
        repo = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.add("main", {".gitattributes": GITATTRIBUTES}, "initial commit")
        self.repos[repo_type, repo_id] = repo
        return Reply.json({"url": f"{self.url}/{prefix}{repo_id}", "name": repo_id})

    def validate(self, token: str | None, body: bytes, query: Any) -> Reply:
        front = json.loads(body)["content"].startswith("---\n")
        errors = [] if front else [{"message": "no front matter"}]
        return Reply.json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def info(
        self, token: str | None, body: bytes, query: Any, kind: str, repo_id: str, rev: str = "main"
    ) -> Reply:
        repo = self.seen(token, kind, repo_id)
        if isinstance(repo, Reply):
            return repo
        oid = repo.resolve(rev)
        if oid is None:
            return Reply.error(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        siblings = [self.sibling(name, content, query) for name, content in repo.commits[oid].items()]
        said = {"id": repo_id, "sha": oid, "private": repo.private, "siblings": siblings, "tags": []}
        return Reply.json(
            {**said, "modelId": repo_id, "author": repo_id.split("/")[0], "downloads": 0, "likes": 0}
        )

    def sibling(self, name: str, content: bytes, query: Any) -> dict[str, Any]:
        if "blobs" not in query:
            return {"rfilename": name}
        entry = self.entry(name, content)
        lfs = {"sha256": entry["lfs"]["oid"], **entry["lfs"]} if "lfs" in entry else None
        return {"rfilename": name, "size": entry["size"], "blobId": entry["oid"], "lfs": lfs}

    def entry(self, name: str, content: bytes) -> dict[str, Any]:
        if not name.endswith(LFS_SUFFIXES):
            return {"type": "file", "path": name, "size": len(content), "oid": git_blob(content)}
        sha256, small = hashlib.sha256(content).hexdigest(), pointer(content)
        lfs = {"oid": sha256, "size": len(content), "pointerSize": len(small)}
        return {"type": "file", "path": name, "size": len(content), "oid": git_blob(small), "lfs": lfs}

    def tree(
        self,
        token: str | None,
        body: bytes,
        query: dict[str, list[str]],
        kind: str,
        repo_id: str,
        rev: str,
        below: str | None,
    ) -> Reply:
        repo = self.seen(token, kind, repo_id)
        if isinstance(repo, Reply):
            return repo
        oid = repo.resolve(rev)
        if oid is None:
            return Reply.error(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        start_of_names = f"{below}/" if below else ""
        files = {n: body for n, body in repo.commits[oid].items() if n.startswith(start_of_names)}
        if not files:
            return Reply.error(404, f"{below} does not exist", "EntryNotFound")
        if query.get("recursive", ["false"])[0].lower() != "true":
            folders = {start_of_names + n.removeprefix(start_of_names).split("/")[0] for n in files} - set(
                files
            )
            files = {n: body for n, body in files.items() if "/" not in n.removeprefix(start_of_names)}
        else:
            folders = {name.rsplit("/", 1)[0] for name in files if "/" in name}
        entries = [{"type": "directory", "path": f, "size": 0, "oid": "0" * 40} for f in sorted(folders)]
        entries += [self.entry(name, files[name]) for name in sorted(files)]
        start = int(query.get("cursor", ["0"])[0])
        asked = "&".join(f"{name}={values[0]}" for name, values in query.items() if name != "cursor")
        place = f"{self.url}/api/{kind}/{repo_id}/tree/{rev}{'/' + below if below else ''}"
        link = {"Link": f'<{place}?{asked}&cursor={start + PAGE}>; rel="next"'}
        return Reply.json(entries[start : start + PAGE], **(link if start + PAGE < len(entries) else {}))

    def preupload(
        self, token: str | None, body: bytes, query: Any, kind: str, repo_id: str, rev: str
    ) -> Reply:
        repo = self.writable(token, kind, repo_id)
        if isinstance(repo, Reply):
            return repo
        there = repo.commits.get(repo.branches.get(rev, ""), {})
        files = []
        for file in json.loads(body)["files"]:
            name = file["path"]
            large = name.endswith(LFS_SUFFIXES)
            oid = None
            if name in there:
                content = there[name]
                oid = hashlib.sha256(content).hexdigest() if large else git_blob(content)
            mode = "lfs" if large else "regular"
            files.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return Reply.json({"files": files})

    def batch(self, token: str | None, body: bytes, query: Any, kind: str | None, repo_id: str) -> Reply:
        repo = self.writable(token, kind, repo_id)
        if isinstance(repo, Reply):
            return repo
        objects = []
        for wanted in json.loads(body)["objects"]:
            actions = {
                "upload": {"href": f"{self.url}/upload/{wanted['oid']}"},
                "verify": {"href": f"{self.url}/verify"},
            }
            objects.append({**wanted, **({} if wanted["oid"] in self.large else {"actions": actions})})
        return Reply.json({"transfer": "basic", "objects": objects})

    def upload(self, token: str | None, body: bytes, query: Any, oid: str) -> Reply:
        if hashlib.sha256(body).hexdigest() != oid:
            return Reply.error(400, "the bytes have another hash")
        self.large[oid] = body
        return Reply()

    def verify(self, token: str | None, body: bytes, query: Any) -> Reply:
        asked = json.loads(body)
        there = len(self.large.get(asked["oid"], b"")) == asked["size"]
        return Reply() if there else Reply.error(404, "no such object")

    def commit(self, token: str | None, body: bytes, query: Any, kind: str, repo_id: str, rev: str) -> Reply:
        repo = self.writable(token, kind, repo_id)
        if isinstance(repo, Reply):
            return repo
        lines = [json.loads(line) for line in body.decode().splitlines()]
        header, operations = lines[0]["value"], lines[1:]
        if rev not in repo.branches:
            return Reply.error(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        if header.get("parentCommit") not in (None, repo.branches[rev]):
            return Reply.error(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.commits[repo.branches[rev]])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.large:
                    return Reply.error(400, f"LFS object {value['oid']} is missing")
                files[value["path"]] = self.large[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
            else:
                return Reply.error(400, f"unknown operation {operation['key']}")
        oid = repo.add(rev, files, header["summary"])
        url = f"{self.url}/{repo_id}/commit/{oid}"
        return Reply.json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def branch(self, token: str | None, body: bytes, query: Any, kind: str, repo_id: str, rev: str) -> Reply:
        repo = self.writable(token, kind, repo_id)
        if isinstance(repo, Reply):
            return repo
        if rev in repo.branches:
            return Reply.error(409, "Reference already exists")
        repo.branches[rev] = repo.branches["main"]
        return Reply.json({})

    def resolve(
        self,
        token: str | None,
        method: str,
        ranged: str | None,
        kind: str | None,
        repo_id: str,
        rev: str,
        name: str,
    ) -> Reply:
        repo = self.seen(token, kind, repo_id)
        if isinstance(repo, Reply):
            return repo
        oid = repo.resolve(rev)
        if oid is None:
            return Reply.error(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        if name not in repo.commits[oid]:
            return Reply.error(404, "Entry not found", "EntryNotFound")
        content = repo.commits[oid][name]
        headers = {"X-Repo-Commit": oid}
        if not name.endswith(LFS_SUFFIXES):
            headers["ETag"] = f'"{git_blob(content)}"'
            return self.send(name, content, ranged, headers, method)
        sha256 = hashlib.sha256(content).hexdigest()
        self.large[sha256] = content
        headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        # Large files lie with another host, to which no token must go.
        store = self.url.replace("127.0.0.1", "localhost")
        return Reply(302, b"", {**headers, "Location": f"{store}/large/{sha256}/{name.rsplit('/', 1)[-1]}"})

    def send(
        self, name: str, content: bytes, ranged: str | None, headers: dict[str, str], method: str = "GET"
    ) -> Reply:
        if method == "HEAD":
            return Reply(200, content, headers)
        content = self.served(name, content)
        if ranged is None:
            return Reply(200, content, headers)
        start = int(ranged.removeprefix("bytes=").split("-")[0])
        whole = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return Reply(206, content[start:], {**headers, **whole})


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub on a free port of this machine for as long as the block lasts."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A reply in two small packets would wait for an acknowledgement in between.
        disable_nagle_algorithm = True
        wbufsize = -1

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self.chunks()
            said = self.headers.get("Authorization")
            token = None if said is None else said.removeprefix("Bearer ")
            reply = hub.answer(self.command, self.path, token, body, self.headers.get("Range"))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            name = urlsplit(self.path).path.rsplit("/", 1)[-1]
            if name in hub.cut:
                hub.cut.discard(name)
                self.wfile.write(reply.body[: len(reply.body) // 2])
                self.close_connection = True
                return
            self.wfile.write(reply.body)

        def chunks(self) -> bytes:
            content = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815 - named by http.server

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
