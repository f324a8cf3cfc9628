"""Attacks on the authorization server, as data: each comes to nothing, and its harmless twin passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.kit.control import CHALLENGE, LOCAL, OFFICE, URL, VERIFIER, ControlSide, fields, office, sent_back
from tests.kit.pki import Authority
from tests.kit.webserver import WebServer, answer

from ostiary.store import Lockdown, accounts
from ostiary.store import clients as stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx2 import Response

Json = dict[str, Any]
CASES: list[Json] = json.loads((Path(__file__).parent / "oauth" / "cases.json").read_text(encoding="utf-8"))
NEAR = OFFICE.replace("oauth: {", "oauth: {danger_loopback_clients: on, ca_file: ca.pem, ")
#: The clients of these attacks besides those of the office.
OTHER = "https://other.example.com/callback"


class Scene:
    """A gateway, alice who is signed in, and a client's own site on this machine."""

    def __init__(self, side: ControlSide, site: WebServer) -> None:
        self.side, self.site = side, site
        self.alice = side.staff("alice")
        self.client = site.url("/client.json", host="localhost")
        self._publish([LOCAL])
        site.scripts["/client.json/elsewhere"] = answer("", status="302 Found", Location=self.client)
        site.scripts["/client.json/large"] = answer(json.dumps({"x": "y" * 70_000}))
        site.scripts["/client.json/copy"] = site.scripts["/client.json"]
        stored.add_registered(side.store, "other", "Another", [OTHER], confidential=False)

    def _publish(self, uris: list[str]) -> None:
        document = {"client_id": self.client, "client_name": "Sited", "redirect_uris": uris}
        self.site.scripts["/client.json"] = answer(json.dumps(document), Cache_Control="max-age=300")

    def send(self, at: str, send: Json) -> Response:
        """Do what a case says, at its stage of the flow."""
        if send.get("danger") is False:
            self.side.change(OFFICE)
        if send.get("off"):
            self.side.change(NEAR.replace("dynamic_registration: on", "dynamic_registration: off"))
        stage = {"authorize": self._authorize, "decide": self._decide, "register": self._register}
        return stage[at](send) if at in stage else self._token(at, send)

    def _set(self, send: Json) -> Json:
        return json.loads(json.dumps(send.get("set", {})).replace("$SITE", self.client))

    def _authorize(self, send: Json) -> Response:
        asked = {"client_id": "ide", **self._set(send)}
        if send.get("consented"):
            self.side.tokens("ide" if asked["client_id"] == "other" else asked["client_id"], self.alice)
        if send.get("swapped"):
            self._publish([LOCAL, "https://evil.example/"])
            self.side.now_is += 300
        if "named" in send:
            stored.add_registered(self.side.store, "odd", send["named"], [LOCAL], confidential=False)
            asked["client_id"] = "odd"
        return self.side.get(self.side.authorize_path(**asked) + send.get("append", ""), cookies=self.alice)

    def _decide(self, send: Json) -> Response:
        shown = self.side.get(self.side.authorize_path("ide"), cookies=self.alice)
        form: Json = {**fields(shown), "decision": "allow", **send.get("set", {})}
        if "request" in send:
            form["request"] = urlsplit(self.side.authorize_path(**{"client_id": "ide", **send["request"]})).query
        browsers = {"alice": self.alice, "eve": self.side.staff("eve"), None: {}}
        cookies = browsers[send.get("browser", "alice")]
        said = {name: value for name, value in form.items() if value is not None}
        return self.side.post("/oauth/authorize", said, cookies=cookies, **send.get("headers", {}))

    def _register(self, send: Json) -> Response:
        document = {"client_name": "A tool", "redirect_uris": [LOCAL], "token_endpoint_auth_method": "none"}
        for _ in range(send.get("again", 0)):
            self.side.register(document)
        return self.side.register({**document, **send.get("set", {})})

    def _token(self, at: str, send: Json) -> Response:
        self.code = self.side.code("ide", self.alice)
        self.form: Json = {
            "grant_type": "authorization_code",
            "client_id": "ide",
            "code": self.code,
            "redirect_uri": LOCAL,
            "code_verifier": VERIFIER,
            "resource": f"{URL}/mcp/notes",
        }
        if at == "refresh":
            token = self.side.post("/oauth/token", self.form).json()["refresh_token"]
            self.form = {"grant_type": "refresh_token", "client_id": "ide", "refresh_token": token}
            self.form["resource"] = f"{URL}/mcp/notes"
        for _ in range(send.get("again", 0)):
            self.side.post("/oauth/token", self.form)
        self._meanwhile(send)
        sent = {send.get("rename", {}).get(name, name): value for name, value in self.form.items()}
        sent |= send.get("set", {})
        return self.side.post("/oauth/token", {name: value for name, value in sent.items() if value is not None})

    def _meanwhile(self, send: Json) -> None:
        self.side.now_is += send.get("later", 0)
        if send.get("lockdown"):
            self.side.store.lock_down(Lockdown(at=self.side.now_is, by="boss", reason=None))
        if send.get("gone"):
            accounts.end(self.side.store, "human:sso:alice", now=self.side.now_is, why="left")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.cert.public_bytes(Encoding.PEM))
    with WebServer(authority.pair(), tmp_path) as site, office(tmp_path, NEAR) as side:
        yield Scene(side, site)


def check(scene: Scene, got: Response, must: Json) -> None:
    """Hold an answer to what must come of it."""
    where = got.headers.get("location")
    said = {name: values[0] for name, values in parse_qs(urlsplit(where or "").query).items()}
    if "status" in must:
        assert got.status_code == must["status"], got.text
    if must.get("back") is False:
        assert where is None
    if must.get("page"):
        assert (got.status_code, where) == (200, None), said
        assert 'name="decision" value="allow"' in got.text
        assert "frame-ancestors 'none'" in got.headers["content-security-policy"]
    if must.get("code"):
        assert sent_back(got)["code"]
    if "error" in must and where is None:
        assert got.json()["error"] == must["error"], got.text
        assert "access_token" not in got.text
    elif "error" in must:
        assert (said["error"], said.get("state"), said["iss"]) == (must["error"], must.get("state", "the-state"), URL)
        assert "code" not in said
    assert [each for each in must.get("lacks", []) if each in got.text] == []
    if "revoked" in must:
        assert [epoch.kind for epoch in scene.side.epochs] == [must["revoked"]]
        assert scene.side.records("revoked")
    if must.get("ended"):
        assert scene.side.records("revoked" if "revoked" in must else "token_refused")
        assert scene.side.post("/oauth/token", scene.form).json()["error"] == "invalid_grant"


def test_every_case_has_an_id_of_its_own_and_a_source() -> None:
    names = [case["id"] for case in CASES]
    assert len(names) == len(set(names))
    assert [case["id"] for case in CASES if not (case["source"] and case["why"])] == []
    assert CHALLENGE != VERIFIER


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_an_attack_comes_to_nothing(scene: Scene, case: Json) -> None:
    check(scene, scene.send(case["at"], case["send"]), case["must"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_its_harmless_twin_passes(scene: Scene, case: Json) -> None:
    check(scene, scene.send(case["at"], case["twin"]), case["twin_must"])
