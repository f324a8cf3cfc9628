"""The guides for what runs without a person: the configuration, commands and manifests of each page, end to end.

A platform of the kit signs what GitHub and Kubernetes would; the gateway is the real one, found at another address.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
from tests.kit.clients import SdkServer
from tests.kit.guides import ROOT, GuideGateway, blocks, documents
from tests.kit.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CI, KUBERNETES, KEY = (f"docs/guides/{name}.md" for name in ("ci-job", "kubernetes", "without-a-browser"))
CLUSTER = "https://kubernetes.default.svc.cluster.local"
ON_MAIN = "repo:acme/app:ref:refs/heads/main"


@pytest.fixture(scope="module")
def upstream() -> Iterator[SdkServer]:
    with SdkServer() as server:
        yield server


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform() as platform:
        yield platform


def text_of(answer: str) -> str:
    """What the tool said, in the answer to a call that stands last in what a command printed."""
    found: str = json.loads(answer.splitlines()[-1])["result"]["content"][0]["text"]
    return found


# A job of GitHub Actions ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ci(tmp_path_factory: pytest.TempPathFactory, upstream: SdkServer, platform: Platform) -> Iterator[GuideGateway]:
    (text,) = blocks(CI, "yaml")
    words = {"preset: github-actions,": f'preset: github-actions, issuer: "{platform.url}",'}
    with GuideGateway(tmp_path_factory.mktemp("ci"), text, upstream.url, words) as gateway:
        yield gateway


def steps(gateway: GuideGateway, environment: dict[str, str], *, check: bool = True) -> list[Any]:
    """Run the steps of the page's workflow as a runner does, until one fails."""
    ((workflow,),) = [documents(text) for text in blocks(CI, "yml")]
    assert workflow["permissions"] == {"id-token": "write"}
    assert workflow["env"] == {"GATEWAY": gateway.told_url}
    shared = gateway.folder / "github-env"
    shared.write_text("")
    done = []
    for step in workflow["jobs"]["release"]["steps"]:
        told = dict(line.split("=", 1) for line in shared.read_text().splitlines())
        # The runner's shell is bash with `pipefail`; what fails on the left of a pipe fails on its right too here.
        done.append(gateway.shell(step["run"], check=check, GITHUB_ENV=str(shared), **environment, **told))
        if done[-1].returncode:
            break
    return done


def test_a_job_on_the_main_branch_calls_a_tool(ci: GuideGateway, upstream: SdkServer, platform: Platform) -> None:
    already, since = len(upstream.calls()), len(ci.records())
    got, called = steps(ci, platform.run_job(ON_MAIN, repository="acme/app", run_id="77", workflow="release"))
    token = (ci.folder / "github-env").read_text().strip().removeprefix("TOKEN=")
    assert got.stdout == f"::add-mask::{token}\n"
    assert text_of(called.stdout) == "contents of releases/1.4.md"
    assert [call["params"]["name"] for call in upstream.calls()[already:]] == ["read_file"]
    (issued,) = [each for each in ci.next_record(since, "control") if each["event"] == "token_issued"]
    assert issued["principal"] == {"type": "agent", "id": "agent:local:release-bot", "owner": "alice"}
    assert {name: issued["detail"]["platform"][name] for name in ("subject", "run_id", "workflow")} == {
        "subject": ON_MAIN,
        "run_id": "77",
        "workflow": "release",
    }
    etc = ci.call("read_file", {"path": "/etc/passwd"}, token, server="files").json()
    assert (etc["error"]["code"], etc["error"]["data"]["reason"]) == (4030, "denied_by_rule")
    more = ci.call("delete_file", {"path": "/x"}, token, server="files").json()
    assert (more["error"]["code"], more["error"]["data"]["reason"]) == (4030, "no_rule")
    assert len(upstream.calls()) == already + 1


@pytest.mark.parametrize(
    "subject",
    [
        "repo:acme/app:ref:refs/heads/feature",
        "repo:acme/app:pull_request",
        "repo:mallory/app:ref:refs/heads/main",
        "repo:acme/app:ref:refs/heads/main2",
        "repo:acme/app:environment:production",
    ],
)
def test_another_job_gets_no_token(ci: GuideGateway, upstream: SdkServer, platform: Platform, subject: str) -> None:
    already = len(upstream.seen())
    done = steps(ci, platform.run_job(subject, repository="acme/app"), check=False)
    assert [each.returncode != 0 for each in done] == [True]
    assert (ci.folder / "github-env").read_text() == ""
    assert len(upstream.seen()) == already


def test_a_token_of_github_is_good_once(ci: GuideGateway, platform: Platform) -> None:
    job = platform.run_job(ON_MAIN)
    ask = """
    assertion=$(curl -sS -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \\
      "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=$GATEWAY" | jq -r .value)
    for again in 1 2; do
      curl -sS -o /dev/null -w '%{http_code} ' "$GATEWAY/oauth/token" -d "assertion=$assertion" \\
        -d grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer -d "resource=$GATEWAY/mcp/files"
    done"""
    assert ci.shell(ask, **job).stdout.split() == ["200", "400"]


# A pod of Kubernetes --------------------------------------------------------------------------------------------------

MANIFESTS = [document for text in blocks(KUBERNETES, "yml") for document in documents(text)]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_the_manifests_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.37", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest | {"metadata": {"name": ["two", "names"]}}, "1.37", strict=True)


def pod(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod's part of the manifest of this kind, and where its projected token comes from."""
    (manifest,) = [each for each in MANIFESTS if each["kind"] == kind]
    spec = manifest["spec"]
    spec = (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]["spec"]
    (account,) = [each["metadata"] for each in MANIFESTS if each["kind"] == "ServiceAccount"]
    assert (spec["serviceAccountName"], manifest["metadata"]["namespace"]) == (account["name"], account["namespace"])
    ((source,),) = [volume["projected"]["sources"] for volume in spec["volumes"]]
    projected = source["serviceAccountToken"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    return spec, {**projected, "file": f"{mount['mountPath']}/{projected['path']}", "namespace": account["namespace"]}


@pytest.fixture(scope="module", params=["a file of keys", "found from the issuer"])
def cluster(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    upstream: SdkServer,
    platform: Platform,
) -> Iterator[GuideGateway]:
    folder = tmp_path_factory.mktemp("cluster")
    (text,) = blocks(KUBERNETES, "yaml")
    words = {CLUSTER: platform.url}
    if request.param == "a file of keys":
        (folder / "cluster.json").write_text(json.dumps(platform.jwks()))
    else:
        words["jwks: {file: cluster.json}"] = "# no jwks"
    with GuideGateway(folder, text, upstream.url, words) as gateway:
        yield gateway


def mounted(gateway: GuideGateway, platform: Platform, kind: str, *, account: str | None = None) -> Path:
    """The file that the kubelet would write for the pod of the manifest, if it ran as this ServiceAccount."""
    spec, projected = pod(kind)
    assert projected["audience"] == gateway.told_url
    token = platform.pod_token(
        projected["namespace"],
        account or spec["serviceAccountName"],
        audience=gateway.url,
        seconds=projected["expirationSeconds"],
    )
    file = gateway.folder / "mounted-token"
    file.write_text(token)
    return file


def run_cron_job(gateway: GuideGateway, file: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the container of the CronJob."""
    spec, projected = pod("CronJob")
    (container,) = spec["containers"]
    assert container["env"] == [{"name": "GATEWAY", "value": gateway.told_url}]
    assert container["command"] == ["sh", "-euc"]
    (script,) = container["args"]
    assert projected["file"] in script
    return gateway.shell(script.replace(projected["file"], str(file)), check=check)


def test_a_cron_job_calls_a_tool_again_and_again(
    cluster: GuideGateway, upstream: SdkServer, platform: Platform
) -> None:
    already, since = len(upstream.calls()), len(cluster.records())
    file = mounted(cluster, platform, "CronJob")
    said = [text_of(run_cron_job(cluster, file).stdout) for _ in range(2)]
    assert said == ["contents of reports/today.md"] * 2
    assert [call["params"]["name"] for call in upstream.calls()[already:]] == ["read_file"] * 2
    issued = [each for each in cluster.next_record(since, "control", count=2) if each["event"] == "token_issued"]
    assert {each["principal"]["id"] for each in issued} == {"service:local:reporter"}
    assert {each["detail"]["platform"]["namespace"] for each in issued} == {"prod"}


def test_what_a_pod_may_not_do_is_refused(cluster: GuideGateway, upstream: SdkServer, platform: Platform) -> None:
    already = len(upstream.calls())
    file = mounted(cluster, platform, "CronJob")
    script = pod("CronJob")[0]["containers"][0]["args"][0]
    told = cluster.shell(
        script.replace("/var/run/secrets/ostiary/token", str(file)).replace("read_file", "delete_file")
    ).stdout
    assert json.loads(told.splitlines()[-1])["error"]["code"] == 4030
    assert len(upstream.calls()) == already


def test_another_service_account_gets_no_token(cluster: GuideGateway, upstream: SdkServer, platform: Platform) -> None:
    already = len(upstream.seen())
    done = run_cron_job(cluster, mounted(cluster, platform, "CronJob", account="default"), check=False)
    assert done.returncode != 0
    assert len(upstream.seen()) == already


def test_a_token_for_the_cluster_itself_is_not_taken(cluster: GuideGateway, platform: Platform) -> None:
    file = cluster.folder / "api-token"
    file.write_text(platform.pod_token("prod", "reporter", audience=CLUSTER, seconds=3600))
    assert run_cron_job(cluster, file, check=False).returncode != 0


def test_a_workload_that_stays_calls_with_the_sdk(
    cluster: GuideGateway, platform: Platform, tmp_path: Path, upstream: SdkServer
) -> None:
    spec, projected = pod("Deployment")
    environment = {each["name"]: each["value"] for each in spec["containers"][0]["env"]}
    assert environment == {"GATEWAY": cluster.told_url, "TOKEN_FILE": projected["file"]}
    file = mounted(cluster, platform, "Deployment")
    (program,) = blocks(KUBERNETES, "python")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "GATEWAY": cluster.url, "TOKEN_FILE": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("contents of reports/today.md\n", 0), done.stderr


def test_a_service_that_was_revoked_is_refused_and_gets_a_new_token(cluster: GuideGateway, platform: Platform) -> None:
    file = mounted(cluster, platform, "CronJob")
    get, call = '"$GATEWAY/oauth/token"', '\ncurl -sS --fail-with-body "$GATEWAY/mcp'
    script = pod("CronJob")[0]["containers"][0]["args"][0].replace("/var/run/secrets/ostiary/token", str(file))
    assert (script.count(get), script.count(call)) == (1, 1)
    revoke = next(line for line in re.findall(r"`(ostiary revoke [^`]*)`", (ROOT / KUBERNETES).read_text()))
    told = cluster.shell(script.replace(call, f"\n{revoke}{call.replace(' --fail-with-body', '')}")).stdout
    assert told.splitlines()[-1] == "The token has been revoked."
    assert text_of(run_cron_job(cluster, file).stdout) == "contents of reports/today.md"


# A key of its own -----------------------------------------------------------------------------------------------------


def test_an_agent_with_a_key_of_its_own_calls_a_tool(tmp_path: Path, upstream: SdkServer) -> None:
    (text,), (make_key, ask) = blocks(KEY, "yaml"), blocks(KEY, "sh")
    gateway = GuideGateway(tmp_path, text, upstream.url, {})
    gateway.shell(make_key)
    with gateway:
        token = json.loads(gateway.shell(ask).stdout)["access_token"]
        assert gateway.call("read_file", {"path": "a"}, token, server="files").status == 200
        others = ask.replace('"ci-bot"', '"release-bot"')
        since = len(gateway.records())
        assert gateway.shell(others, check=False).returncode != 0
        assert [each for each in gateway.records()[since:] if each.get("event") == "token_issued"] == []
