"""What operators do: issue tokens, rotate keys, lock down, look: with a gateway and without one, always on record."""

from __future__ import annotations

import base64
import getpass
import json
import os
import shutil
import signal
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.gateway import Gateway, as_yaml, free_port, settings
from tests.kit.issuer import read
from tests.kit.upstream import Upstream
from tests.kit.wire import Wire, http, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.issuer import Issuer


@pytest.fixture
def gateway(tmp_path: Path, issuer: Issuer) -> Iterator[Gateway]:
    """A gateway that has not started, with an upstream that answers."""
    issuer.write(tmp_path / "jwks.json")
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        made = Gateway(tmp_path, config)
        try:
            yield made
        finally:
            made.end()


def events(gateway: Gateway) -> list[str]:
    return [record["event"] for record in gateway.records() if record["kind"] in {"control", "admin"}]


def last(gateway: Gateway, event: str) -> dict[str, Any]:
    return [record for record in gateway.records() if record.get("event") == event][-1]


@pytest.mark.parametrize("running", [True, False])
def test_a_token_is_issued_with_and_without_a_gateway_and_opens_the_server(gateway: Gateway, running: bool) -> None:
    if running:
        gateway.start()
    token = gateway.issue()
    record = last(gateway, "token_issued")
    _, claims = read(token)
    assert record["kind"] == "control"
    assert record["by"] == {"uid": os.getuid(), "login": getpass.getuser()}
    assert record["principal"] == {"type": "agent", "id": "agent:local:release-bot", "owner": "alice"}
    assert record["token"]["jti"] == claims["jti"]
    assert token not in json.dumps(gateway.records())
    if not running:
        gateway.start()
    assert gateway.call("echo", {"text": "x"}, token).status == 200
    assert token.rsplit(".", 1)[1] not in gateway.log()


@pytest.mark.parametrize("running", [True, False])
def test_a_refused_token_is_on_record_too(gateway: Gateway, running: bool) -> None:
    if running:
        gateway.start()
    words = ["tokens", "issue", "--config", str(gateway.file), "--agent", "release-bot", "--server", "notes"]
    done = gateway.run(*words, "--scope", "mcp:admin", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "mcp:admin is outside the ceiling" in done.stderr
    assert "mcp:read mcp:query mcp:update" in done.stderr
    assert last(gateway, "token_refused")["decision"] == "deny"


@pytest.mark.parametrize("words", [[], ["--agent", "a", "--service", "b"]])
def test_wrong_use_is_exit_2(gateway: Gateway, words: list[str]) -> None:
    command = ["tokens", "issue", "--config", str(gateway.file), "--server", "notes", *words]
    assert gateway.run(*command, check=False).returncode == 2


def test_the_plain_output_is_the_token_alone(gateway: Gateway) -> None:
    words = ["tokens", "issue", "--config", str(gateway.file), "--agent", "release-bot", "--server", "notes"]
    done = gateway.run(*words)
    assert done.stdout.count(".") == 2
    assert done.stdout == done.stdout.strip() + "\n"
    assert "owned by alice" in done.stderr


@pytest.mark.parametrize("running", [True, False])
def test_keys_are_listed_and_rotated_with_and_without_a_gateway(gateway: Gateway, running: bool) -> None:
    gateway.start()
    if not running:
        gateway.end()
    config = ["--config", str(gateway.file)]
    (before,) = gateway.run_json("keys", "list", *config)["keys"]
    made = gateway.run_json("keys", "rotate", *config)["kid"]
    after = {key["kid"]: key for key in gateway.run_json("keys", "list", *config)["keys"]}
    assert (after[made]["state"], after[before["kid"]]["state"]) == ("signing", "retired")
    assert after[before["kid"]]["published_until"] - after[before["kid"]]["retired_at"] == 3660
    assert last(gateway, "keys_rotated")["detail"] == {"kid": made, "before": [before["kid"]]}
    assert gateway.run("keys", "list", *config).stdout.count(made) == 1
    gateway.end()
    gateway.start()
    assert {key["kid"] for key in gateway.get("/.well-known/jwks.json").json()["keys"]} == set(after)


def test_a_lockdown_without_gateway_and_without_a_usable_file_holds_from_the_next_start(
    gateway: Gateway, issuer: Issuer
) -> None:
    gateway.start()
    gateway.end()
    sound = gateway.file.read_text()
    gateway.save("store: {url: sqlite:///var/ostiary.db}\nnothing: [\n")
    done = gateway.run("lockdown", "--reason", "drill", "--config", str(gateway.file))
    assert "next start" in done.stderr
    assert gateway.run("lockdown", "--lift", "--config", str(gateway.file), check=False).returncode == 1
    gateway.save(sound)
    gateway.start()
    assert gateway.call("echo", {"text": "x"}, issuer.token()).error["data"]["reason"] == "lockdown"
    assert gateway.admin_get("/readyz").json()["lockdown"] is True
    record = last(gateway, "lockdown")
    assert (record["detail"]["reason"], record["detail"]["by"]) == (
        "drill",
        f"{getpass.getuser()} (uid {os.getuid()})",
    )
    gateway.run("lockdown", "--lift", "--reason", "over", "--config", str(gateway.file))
    assert gateway.call("echo", {"text": "x"}, issuer.token()).status == 200
    assert last(gateway, "lockdown_lifted")["detail"] == {"reason": "over"}


def test_a_lockdown_reaches_the_running_gateway_through_a_broken_file(gateway: Gateway, issuer: Issuer) -> None:
    gateway.start()
    gateway.save("store: {url: sqlite:///var/ostiary.db}\nnothing: [\n")
    gateway.run("lockdown", "--config", str(gateway.file))
    assert gateway.call("echo", {"text": "x"}, issuer.token()).error["data"]["reason"] == "lockdown"
    gateway.file.unlink()
    gateway.run("lockdown", "--lift", "--store", "var/ostiary.db", "--config", "no-such-file.yaml")
    assert gateway.call("echo", {"text": "x"}, issuer.token()).status == 200


def test_a_lockdown_needs_no_sealing_key(gateway: Gateway) -> None:
    gateway.start()
    gateway.end()
    key = gateway.folder / "var" / "ostiary.db.key"
    kept = key.rename(key.with_suffix(".kept"))
    done = gateway.run("lockdown", "--config", str(gateway.file))
    assert "next start" in done.stderr
    kept.rename(key)
    gateway.start()
    assert gateway.admin_get("/readyz").json()["lockdown"] is True
    assert last(gateway, "lockdown")["detail"]["reason"] is None


def test_a_lockdown_of_a_store_that_is_not_there_is_an_error_and_makes_none(tmp_path: Path, gateway: Gateway) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    done = gateway.run("lockdown", "--config", str(nowhere / "ostiary.yaml"), check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--store" in done.stderr
    done = gateway.run("lockdown", "--store", "other.db", "--config", str(gateway.file), check=False)
    assert done.returncode == 1
    assert list(nowhere.iterdir()) == []
    assert not (gateway.folder / "other.db").exists()


def test_two_gateways_do_not_share_a_store(gateway: Gateway, tmp_path: Path) -> None:
    gateway.start()
    assert gateway.process is not None
    listen, admin = free_port(), free_port()
    other = {
        **gateway.config,
        "gateway": {"listen": f"127.0.0.1:{listen}", "url": f"http://127.0.0.1:{listen}"},
        "admin": {"listen": f"127.0.0.1:{admin}"},
    }
    (tmp_path / "other.yaml").write_text(as_yaml(other))
    done = gateway.run("run", "--config", str(tmp_path / "other.yaml"), check=False)
    assert done.returncode == 1
    assert f"in use by process {gateway.process.pid}" in done.stderr
    assert gateway.admin_get("/readyz").status == 200


@pytest.mark.parametrize("which", ["gateway", "admin"])
def test_an_address_that_is_taken_is_exit_1_and_named(gateway: Gateway, which: str) -> None:
    address = gateway.address if which == "gateway" else gateway.admin
    with socket.create_server(address):
        done = gateway.run("run", "--config", str(gateway.file), check=False)
    assert done.returncode == 1
    assert f"{which}.listen {address[0]}:{address[1]}" in done.stderr
    assert "Traceback" not in done.stderr
    gateway.start()


def test_a_wrong_sealing_key_is_exit_1_and_changes_nothing(gateway: Gateway) -> None:
    gateway.start()
    gateway.end()
    key = gateway.folder / "var" / "ostiary.db.key"
    kept = key.read_bytes()
    for text, told in (
        ("A" * 43 + "=\n", "is not random"),
        (base64.b64encode(bytes(range(32))).decode(), "does not fit"),
    ):
        key.write_text(text)
        done = gateway.run("run", "--config", str(gateway.file), check=False)
        assert (done.returncode, told in done.stderr) == (1, True), done.stderr
    key.unlink()
    assert gateway.run("run", "--config", str(gateway.file), check=False).returncode == 1
    assert not key.exists()
    key.touch(0o600)
    key.write_bytes(kept)
    gateway.start()


def test_everything_that_is_kept_is_private(gateway: Gateway) -> None:
    gateway.start()
    var = gateway.folder / "var"
    for path in (var, *var.rglob("*")):
        mode = path.stat().st_mode
        assert not mode & 0o077, f"{path.name} {mode:o}"
    assert stat.S_ISSOCK((var / "ostiary.db.run" / "admin.sock").stat().st_mode)
    gateway.end()
    assert not (var / "ostiary.db.run" / "admin.sock").exists()


def test_a_deep_folder_is_no_obstacle_to_the_admin_socket(gateway: Gateway, issuer: Issuer) -> None:
    deep = gateway.folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    issuer.write(deep / "jwks.json")
    other = Gateway(deep, gateway.config)
    with other:
        assert other.issue()
        assert other.run_json("keys", "list", "--config", str(other.file))["keys"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
    ],
)
def test_the_admin_port_answers_to_addresses_and_not_to_names(gateway: Gateway, host: str, status: int) -> None:
    gateway.start()
    for path in ("/healthz", "/readyz", "/metrics"):
        with Wire(gateway.admin, deadline_s=5) as wire:
            assert wire.ask(http("GET", path, [("Host", host), ("Connection", "close")])).status == status


@pytest.mark.parametrize("path", ["/", "/tokens", "/keys", "/keys/rotate", "/lockdown", "/status", "/mcp/notes"])
def test_acts_are_not_on_the_admin_port(gateway: Gateway, path: str) -> None:
    gateway.start()
    assert gateway.admin_get(path).status == 404


def test_a_wrong_file_shows_in_readiness_and_metrics_until_it_is_mended(gateway: Gateway) -> None:
    gateway.start()
    sound = gateway.file.read_text()
    assert gateway.admin_get("/readyz").json()["config"] == {"ok": True, "problems": []}
    gateway.save(sound + "polcy: []\n")

    def told(value: int) -> bool:
        return f"\nostiary_config_ok {value}\n" in gateway.admin_get("/metrics").body.decode()

    wait_until(lambda: told(0), what="the wrong file in the metrics")
    ready = gateway.admin_get("/readyz")
    assert ready.status == 200
    (problem,) = ready.json()["config"]["problems"]
    assert problem.startswith("ostiary.yaml:")
    assert "polcy" in problem
    gateway.save(sound)
    wait_until(lambda: told(1), what="the mended file in the metrics")
    assert 'ostiary_config_reloads_total{result="refused"} 1\n' in gateway.admin_get("/metrics").body.decode()


def test_sighup_reads_the_files_at_once_even_if_nothing_changed(gateway: Gateway) -> None:
    gateway.start()
    assert gateway.process is not None

    def unchanged() -> int:
        text = gateway.admin_get("/metrics").body.decode()
        return int(float(text.split('reloads_total{result="unchanged"} ')[1].split("\n")[0]))

    before = unchanged()
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: unchanged() == before + 1, what="the reload")


def test_each_change_is_a_record_with_its_snapshot(gateway: Gateway) -> None:
    gateway.start()
    first = last(gateway, "gateway_started")["snapshot"]
    gateway.save(as_yaml({**gateway.config, "policy": gateway.config["policy"][2:]}))
    wait_until(lambda: "snapshot_applied" in events(gateway), what="the record of the change")
    applied = last(gateway, "snapshot_applied")
    assert applied["kind"] == "admin"
    assert (applied["detail"]["before"], applied["snapshot"] != first) == (first, True)

    def in_force() -> bool:
        return bool(gateway.admin_get("/readyz").json()["snapshot"] == applied["snapshot"])

    wait_until(in_force, what="the change that was recorded")
    assert gateway.end() == 0
    assert last(gateway, "gateway_stopped")["detail"] == {"clean": True}


def test_a_mounted_config_map_is_followed_through_its_links(tmp_path: Path, issuer: Issuer) -> None:
    """Kubernetes swaps the link `..data`; the file that we were told of is a link through it."""
    work, mount = tmp_path / "work", tmp_path / "mount"
    work.mkdir()

    def fill(version: str, config: dict[str, Any]) -> None:
        (mount / version).mkdir(parents=True)
        (mount / version / "ostiary.yaml").write_text(as_yaml(config))
        issuer.write(mount / version / "jwks.json")
        (mount / "..data_tmp").symlink_to(version)
        (mount / "..data_tmp").replace(mount / "..data")

    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["store"] = {"url": f"sqlite:///{work}/o.db"}
        config["audit"] = {"dir": str(work / "audit")}
        gateway = Gateway(work, config)
        fill("..1", config)
        for name in ("ostiary.yaml", "jwks.json"):
            (mount / name).symlink_to(f"..data/{name}")
        gateway.file = mount / "ostiary.yaml"
        with gateway:
            assert gateway.call("echo", {"text": "x"}, issuer.token()).status == 200
            fill("..2", {**config, "policy": config["policy"][2:]})
            shutil.rmtree(mount / "..1")

            def refused() -> bool:
                return bool(gateway.call("echo", {"text": "x"}, issuer.token()).error)

            wait_until(refused, what="the swapped mount")


def test_the_record_is_shown_to_people(gateway: Gateway, issuer: Issuer) -> None:
    gateway.start()
    reply = gateway.call("read_file", {"path": "/etc/passwd"}, issuer.token())
    decision = reply.error["data"]["decision"]
    gateway.record_of(decision)
    config = ["--config", str(gateway.file)]
    tail = gateway.run("audit", "tail", "-n", "3", *config).stdout
    assert decision in tail
    assert "no-etc (ostiary.yaml:" in tail
    assert [json.loads(line)["id"] for line in gateway.run("audit", "tail", "--json", *config).stdout.splitlines()]
    shown = gateway.run("audit", "show", decision, *config).stdout
    assert "denied_by_rule" in shown
    verified = gateway.run("audit", "verify", *config).stdout
    assert "one unbroken chain" in verified
    assert "not externally anchored" in verified
    assert gateway.run("audit", "show", "no-such-id", *config, check=False).returncode == 1


def test_a_forged_checkpoint_is_found(gateway: Gateway) -> None:
    gateway.start()
    gateway.end()
    told = gateway.run_json("audit", "verify", "--config", str(gateway.file))
    assert told["checkpoints"] >= 1
    shutil.rmtree(gateway.folder / "var")
    gateway.start()
    gateway.end()
    other = gateway.folder / "other"
    shutil.move(gateway.folder / "var" / "audit", other)
    shutil.rmtree(gateway.folder / "var")
    gateway.start()
    gateway.end()
    words = ["audit", "verify", "--json", "--dir", str(other), "--config", str(gateway.file)]
    done = gateway.run(*words, check=False)
    assert done.returncode == 1
    assert "a key that this store never had" in json.loads(done.stdout)["first_bad"]["why"]
    bare = gateway.folder / "bare"
    bare.mkdir()
    told = json.loads(gateway.run(*words[:-2], "--config", str(bare / "ostiary.yaml")).stdout)
    assert told["ok"]
    assert any("not checked" in warning for warning in told["warnings"])
