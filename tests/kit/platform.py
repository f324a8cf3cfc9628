"""A platform that vouches for its workloads, as a process of its own: a cluster of Kubernetes, or GitHub Actions.

    with Platform() as platform:            # issuer `platform.url`, with discovery document and key set over http
        token = platform.pod_token("prod", "reporter", audience=url, seconds=3600)      # as the kubelet gets it
        environment = platform.run_job("repo:acme/app:ref:refs/heads/main", repository="acme/app")

`python -m tests.kit.platform FD URL` is the process. Its keys are its own: only what it signs can be shown.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from tests.kit.issuer import compact, new_key

ROOT: Final = Path(__file__).parents[2]
REQUEST_TOKEN: Final = "the job's own"
DEADLINE_S: Final = 10


class Platform:
    """The process, as the test holds it."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        fd = self._socket.fileno()
        # It ends with its standard input, so that it never outlives the test run.
        words = [sys.executable, "-m", "tests.kit.platform", str(fd), self.url]
        self._process = subprocess.Popen(words, cwd=ROOT, pass_fds=[fd], stdin=subprocess.PIPE)
        self.jwks()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(DEADLINE_S)
        self._socket.close()

    def jwks(self) -> dict[str, Any]:
        """Return the key set, as `kubectl get --raw /openid/v1/jwks` does."""
        return self._ask("/openid/v1/jwks")

    def pod_token(self, namespace: str, account: str, *, audience: str, seconds: int) -> str:
        """Return the projected token of a pod: what the kubelet gets by the TokenRequest API."""
        spec = {"audiences": [audience], "expirationSeconds": seconds}
        told = self._ask(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", {"spec": spec})
        return str(told["status"]["token"])

    def run_job(self, sub: str, **claims: Any) -> dict[str, str]:
        """Let the next job be this one, and return its environment."""
        self._ask("/test/job", {"sub": sub, **claims})
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/actions/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
        }

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with self._opener.open(urllib.request.Request(self.url + path, data), timeout=DEADLINE_S) as answer:
            told: dict[str, Any] = json.loads(answer.read())
        return told


# The process ----------------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    def __init__(self, listening: socket.socket, url: str) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.url = url
        self.key = new_key("RS256", "platform-1")
        self.job: dict[str, Any] = {}

    def sign(self, claims: dict[str, Any], seconds: int, header: dict[str, str]) -> str:
        """Sign what all such tokens have, and `claims`."""
        now = int(time.time())
        common = {"iss": self.url, "iat": now, "nbf": now, "exp": now + seconds, "jti": str(uuid.uuid4())}
        return compact({"alg": "RS256", "kid": self.key.kid, **header}, {**common, **claims}, self.key)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with a document, or a job's token."""
        parts = urlsplit(self.path)
        documents: dict[str, dict[str, Any]] = {
            "/.well-known/openid-configuration": {
                "issuer": self.server.url,
                "jwks_uri": f"{self.server.url}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/openid/v1/jwks": {"keys": [self.server.key.jwk]},
        }
        if parts.path in documents:
            self._answer(documents[parts.path])
        elif parts.path == "/actions/token" and self.headers["Authorization"] == f"Bearer {REQUEST_TOKEN}":
            (audience,) = parse_qs(parts.query)["audience"]
            self._answer({"value": self.server.sign({**self.server.job, "aud": audience}, 300, {"typ": "JWT"})})
        else:
            self._answer({}, status=404)

    def do_POST(self) -> None:
        """Take the test's word on the job, or answer a TokenRequest."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/test/job":
            self.server.job = body
            self._answer({})
            return
        _, _, _, _, namespace, _, account, _ = self.path.split("/")
        claims = {
            "aud": body["spec"]["audiences"],
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": "node-1", "uid": str(uuid.uuid4())},
                "pod": {"name": f"{account}-7d9f", "uid": str(uuid.uuid4())},
                "serviceaccount": {"name": account, "uid": str(uuid.uuid4())},
                "warnafter": int(time.time()) + 3000,
            },
        }
        self._answer({"status": {"token": self.server.sign(claims, body["spec"]["expirationSeconds"], {})}})

    def _answer(self, said: dict[str, Any], *, status: int = 200) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Server(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]).serve_forever()
