"""A finished run to release, and a stand-in for the hub on loopback."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.curation.card import Card
from domino_lightning.release.terms import Terms
from domino_lightning.results.runs import Run, open_run

TOKEN = "hf_good"
TERMS = Terms(Card(license="cc-by-4.0", reference_license="mit", backbone_license="apache-2.0"))


@pytest.fixture(scope="session")
def smoke_run(smoke_root: Path) -> Run:
    """The run of `smoke_experiment`; leave its store alone."""
    return open_run(smoke_root / "runs" / "small" / "first")


@dataclass
class Hub:
    """What the stand-in was asked and given.

    Attributes:
        repos: (type, id) to whether it is private.
        files: (type, id, path) to content.
        commits: messages.
        refuse: status that every commit is answered with, if not 0.
    """

    repos: dict[tuple[str, str], bool] = field(default_factory=dict)
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    refuse: int = 0
    endpoint: str = ""

    def lay_out(self, repo_id: str, folder: Path) -> Path:
        for (_, name, path), content in self.files.items():
            if name == repo_id:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
        return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    """The few calls of the hub's API that a push makes, as huggingface_hub makes them."""
    stand_in = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = self.path.strip("/").split("/")  # api/datasets/user/name/commit/main
            if parts[1] == "validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            if parts[1:3] == ["repos", "create"]:
                asked = json.loads(body)
                kind, name = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
                stand_in.repos.setdefault((kind, name), asked.get("visibility") == "private" or asked.get("private"))
                return self.answer(200, {"url": f"{stand_in.endpoint}/{'datasets/' * (kind == 'dataset')}{name}"})
            kind, name = parts[1].removesuffix("s"), "/".join(parts[2:4])
            if parts[4] == "preupload":
                files = json.loads(body)["files"]
                plan = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
                return self.answer(200, {"files": plan})
            if stand_in.refuse:
                return self.answer(stand_in.refuse, {"error": "not now"})
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "header":
                    stand_in.commits.append(line["value"]["summary"])
                else:
                    content = base64.b64decode(line["value"]["content"])
                    stand_in.files[kind, name, line["value"]["path"]] = content
            url = f"{stand_in.endpoint}/{name}/commit/{'0' * 40}"
            return self.answer(200, {"commitUrl": url, "commitOid": "0" * 40, "success": True})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield stand_in
    server.shutdown()
    server.server_close()
    thread.join()
