"""The guide `without-a-browser.md`: its commands are run, and what they send proves who they are."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from ruamel.yaml import YAML
from tests.kit.asserting import Desk, authenticate
from tests.kit.issuer import Issuer
from tests.kit.webserver import WebServer, answer
from tests.unit.test_docs import blocks

from ostiary.config import load
from ostiary.oauth.assertion import federated_principal
from ostiary.store import Store, StorePath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/guides/without-a-browser.md"
URL = "https://mcp.example.com"
CONFIG = blocks(PAGE, "yaml")[0]
MAKE_KEY, CLIENT, POD = blocks(PAGE, "sh")
WORKFLOW, MANIFEST = (YAML(typ="safe").load(text) for text in blocks(PAGE, "yml"))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[WebServer]:
    """What listens where the gateway would, and keeps what it was sent."""
    run(MAKE_KEY, tmp_path)
    (tmp_path / "cluster.json").write_text(json.dumps(CLUSTER.jwks))
    (tmp_path / "github.json").write_text(json.dumps(GITHUB.jwks))
    with WebServer() as server:
        server.scripts["/oauth/token"] = answer('{"access_token": "issued"}')
        yield server


CLUSTER = Issuer(name="cluster", issuer="https://kubernetes.default.svc.cluster.local", alg="ES256")
GITHUB = Issuer(name="github", issuer="https://token.actions.githubusercontent.com")


def run(lines: str, folder: Path, **environment: str) -> None:
    done = subprocess.run(
        ["sh", "-euc", lines], cwd=folder, env={**os.environ, **environment}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def sent(gateway: WebServer) -> dict[str, str]:
    """The form that the token endpoint got."""
    head = next(head for head in gateway.heads if head.startswith("POST /oauth/token "))
    return {name: values[0] for name, values in parse_qs(head.partition("\r\n\r\n")[2], strict_parsing=True).items()}


def desk(gateway: WebServer, folder: Path, store: Store) -> Any:
    """The page's configuration as it would be at the gateway's own address, with keys of GitHub from a file."""
    text = CONFIG.replace(URL, gateway.url("")).replace("github-actions,", "github-actions, jwks: {file: github.json},")
    (folder / "ostiary.yaml").write_text(text)
    return Desk(load(folder / "ostiary.yaml"), store, time=int(time.time()))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(StorePath.from_url("sqlite:///var/o.db", tmp_path), key=None, base=tmp_path) as opened:
        yield opened


def test_an_agent_signs_with_the_commands_on_the_page(gateway: WebServer, tmp_path: Path, store: Store) -> None:
    run(CLIENT, tmp_path, GATEWAY=gateway.url(""))
    form = sent(gateway)
    found = authenticate(desk(gateway, tmp_path, store), form, endpoint=gateway.url("/oauth/token"))
    assert (found.client_id, found.agent) == ("agent:local:ci-bot", ("agents", "ci-bot"))
    assert (form["grant_type"], form["resource"]) == ("client_credentials", gateway.url("/mcp/notes"))


def test_a_job_gets_its_token_with_the_steps_on_the_page(gateway: WebServer, tmp_path: Path, store: Store) -> None:
    subject, audience = "repo:acme/app:ref:refs/heads/main", gateway.url("")
    theirs = GITHUB.token({"typ": "JWT"}, sub=subject, aud=audience, repository="acme/app", run_id="77")
    gateway.scripts["/actions"] = answer(json.dumps({"value": theirs}))
    run(
        WORKFLOW["jobs"]["release"]["steps"][0]["run"],
        tmp_path,
        GATEWAY=audience,
        ACTIONS_ID_TOKEN_REQUEST_URL=gateway.url("/actions?api-version=2.0"),
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="t",
        GITHUB_ENV=str(tmp_path / "environment"),
    )
    assert gateway.paths[0] == f"/actions?api-version=2.0&audience={audience}"
    assert (tmp_path / "environment").read_text() == "TOKEN=issued\n"
    found = federated_principal(sent(gateway)["assertion"], desk(gateway, tmp_path, store))
    assert (found.section, found.name, found.facts["run_id"]) == ("agents", "release-bot", "77")
    assert WORKFLOW["permissions"] == {"id-token": "write"}
    assert WORKFLOW["env"]["GATEWAY"] == URL


def test_a_pod_shows_the_token_of_the_manifest(gateway: WebServer, tmp_path: Path, store: Store) -> None:
    spec, place = MANIFEST["spec"], MANIFEST["metadata"]
    projected = spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
    assert projected["audience"] == URL
    subject = f"system:serviceaccount:{place['namespace']}:{spec['serviceAccountName']}"
    now = int(time.time())
    ends = now + projected["expirationSeconds"]
    theirs = CLUSTER.token({"typ": ...}, sub=subject, aud=[gateway.url("")], iat=now, exp=ends)
    (tmp_path / projected["path"]).write_text(theirs)
    run(POD, tmp_path, GATEWAY=gateway.url(""), TOKEN_FILE=str(tmp_path / "token"))
    found = federated_principal(sent(gateway)["assertion"], desk(gateway, tmp_path, store))
    assert found[:2] == ("services", "reporter")
    mount = spec["containers"][0]["volumeMounts"][0]["mountPath"]
    assert f"{mount}/{projected['path']}" in POD
