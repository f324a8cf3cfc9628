"""A change of the file is in force soon, whole, or not at all; the gateway stops and locks without losing a call."""

import contextlib
import itertools
import json
import signal
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.kit.gateway import Gateway, as_yaml, free_port, settings
from tests.kit.issuer import Issuer, read
from tests.kit.load import Load
from tests.kit.upstream import Seen, Talk, Upstream, polite, result_for
from tests.kit.wire import CutError, message, read_events, tool_call, wait_until

DEV = {"groups": {"has": "dev"}}
#: Two policies, each of one mind. Whatever both halves of a mixture would let through, neither does.
POLICIES = {
    "a": [{"name": "only-a", "allow": {"and": [DEV, {"tool": "notes/echo"}, {"argument/v": "a"}]}}],
    "b": [
        {"name": "padding-moves-the-lines", "deny": {"or": [{"argument/never": "there"}]}},
        {"name": "only-b", "allow": {"and": [DEV, {"tool": "notes/add"}, {"argument/v": "b"}]}},
    ],
}
CALLS = [("echo", "a"), ("echo", "b"), ("add", "a"), ("add", "b")]
ALLOWED = {"a": ("echo", "a"), "b": ("add", "b")}


@dataclass
class Scene:
    gateway: Gateway
    upstream: Upstream
    token: str

    def use(self, policy: str) -> str:
        """Write the file with one of the two policies, and return its text."""
        text = as_yaml({**self.gateway.config, "policy": POLICIES[policy]})
        self.gateway.save(text)
        return text

    def allows(self, policy: str) -> bool:
        """Whether the one call that `policy` allows is allowed now."""
        tool, value = ALLOWED[policy]
        reply = self.gateway.call(tool, {"v": value}, self.token)
        assert reply.status == 200, reply
        return not reply.error


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Scene]:
    with a_scene(tmp_path_factory, issuer) as made:
        yield made


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Scene]:
    """One scene for tests that leave its file in order."""
    with a_scene(tmp_path_factory, issuer) as made:
        yield made


@pytest.fixture
def steady(lasting: Scene) -> Scene:
    """The lasting scene, policy a in force."""
    lasting.use("a")
    wait_until(lambda: lasting.allows("a"), what="policy a")
    return lasting


@contextlib.contextmanager
def a_scene(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("live")
    issuer.write(folder / "jwks.json")
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["policy"] = POLICIES["a"]
        # Updates are on disk before they are forwarded, which leaves time for the rules to change in between.
        config["servers"]["notes"]["tools"] = {"echo": {"class": "update"}, "add": {"class": "update"}}
        with Gateway(folder, config) as gateway:
            yield Scene(gateway, upstream, issuer.token())


def test_a_saved_file_is_in_force_within_300_ms(steady: Scene) -> None:
    took = []
    for policy in itertools.islice(itertools.cycle("ba"), 7):
        steady.use(policy)
        saved = time.monotonic()
        wait_until(lambda policy=policy: steady.allows(policy), step_s=0.001, what=f"policy {policy}")
        took.append(time.monotonic() - saved)
    # One of the seven may have been held up by another process of this machine.
    assert sorted(took)[-2] < 0.3, took


WRONG = {
    "empty": "",
    "only a comment": "# nothing here\n",
    "no yaml": "gateway: {listen: [",
    "a word": "hello\n",
    "an unknown key": "{text}gatewway: {}\n",
    "a duplicate key": "{text}policy: []\n",
    "a rule that speaks of nobody": '{text}  - {"name": "open", "allow": {"and": [{"tool": "notes/add"}]}}\n',
    "a reference to nobody": '{text}  - {"name": "x", "allow": {"and": [{"agent": "nobody"}]}}\n',
    "a wrong type": "{half}: 7\n",
    "not utf-8": "{text}# \udcff\n",
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_file_changes_nothing_and_says_so(steady: Scene, case: str) -> None:
    """Attack L01."""
    since = len(steady.gateway.records())
    assert steady.allows("a")
    digest = steady.gateway.next_record(since, "outcome")[0]["snapshot"]
    text = as_yaml({**steady.gateway.config, "policy": POLICIES["b"]})
    wrong = WRONG[case].replace("{text}", text).replace("{half}", text[: len(text) // 2])
    before = len(steady.gateway.log())
    steady.gateway.file.write_bytes(wrong.encode(errors="surrogateescape"))
    wait_until(lambda: "ostiary.yaml" in steady.gateway.log()[before:], what="a word about the wrong file")
    assert steady.allows("a")
    assert not steady.allows("b")
    # A checkpoint may fall between them: it speaks of the chain and has no snapshot.
    assert {record["snapshot"] for record in steady.gateway.records()[since:] if record.get("snapshot")} == {digest}
    steady.use("b")
    wait_until(lambda: steady.allows("b"), what="the mended file")


def test_a_missing_file_changes_nothing_and_says_so(steady: Scene) -> None:
    before = len(steady.gateway.log())
    text = steady.gateway.file.read_text()
    steady.gateway.file.unlink()
    wait_until(lambda: "ostiary.yaml" in steady.gateway.log()[before:], what="a word about the missing file")
    assert steady.allows("a")
    steady.gateway.save(text)
    steady.use("b")
    wait_until(lambda: steady.allows("b"), what="the file that came back")


def test_a_file_replaced_by_renaming_is_read(steady: Scene) -> None:
    for policy in "bab":
        draft = steady.gateway.folder / "draft"
        draft.write_text(as_yaml({**steady.gateway.config, "policy": POLICIES[policy]}))
        draft.replace(steady.gateway.file)
        wait_until(lambda policy=policy: steady.allows(policy), what=f"policy {policy}")


def write_slowly(steady: Scene, text: bytes) -> float:
    """Write the file piece by piece while calls go on; returns the longest pause between two pieces, in seconds."""
    pace = threading.Event()
    size = len(text) // 20 + 1
    pauses, last = [0.0], time.monotonic()
    with steady.gateway.file.open("wb") as file:
        for at in range(0, len(text), size):
            file.write(text[at : at + size])
            file.flush()
            pauses.append(time.monotonic() - last)
            last = time.monotonic()
            assert steady.allows("a") or at + size >= len(text) or max(pauses) > 0.08
            pace.wait(0.03)  # slower than one write, quicker than the 100 ms after which a file counts
    return max(pauses)


def test_a_file_that_is_still_being_written_is_left_alone(steady: Scene) -> None:
    text = as_yaml({**steady.gateway.config, "policy": POLICIES["b"]}).encode()
    for _ in range(5):
        before = len(steady.gateway.log())
        if write_slowly(steady, text) < 0.08:
            break
        # Another process held this one up for so long that a part of the file was rightly taken for all of it.
        steady.use("a")
        wait_until(lambda: steady.allows("a"), what="the first file")
    wait_until(lambda: steady.allows("b"), what="the whole file")
    assert "error" not in steady.gateway.log()[before:].lower()


def test_a_wrong_file_at_the_start_is_exit_1(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> None:
    folder = tmp_path_factory.mktemp("wrong")
    issuer.write(folder / "jwks.json")
    config = settings({"notes": "http://127.0.0.1:1/mcp"}, issuer, listen=free_port(), admin=free_port())
    gateway = Gateway(folder, {**config, "polcy": []})
    gateway.launch()
    assert gateway.process is not None
    assert gateway.process.wait(20) == 1
    gateway.process = None
    assert "polcy" in gateway.log()
    assert "ostiary.yaml" in gateway.log()


def snapshots(gateway: Gateway) -> dict[str, bytes]:
    """Return every snapshot that the store keeps, by digest."""
    with sqlite3.connect(f"file:{gateway.folder / 'var' / 'ostiary.db'}?mode=ro", uri=True) as store:
        rows = store.execute("SELECT digest, data FROM snapshots").fetchall()
    store.close()
    return {digest: bytes(data) for digest, data in rows}


def test_200_reloads_under_load_fail_no_request_and_mix_no_policies(steady: Scene) -> None:
    from ostiary import _core

    bodies = [tool_call(tool, {"v": value}, era="stateless") for tool, value in CALLS]
    requests = [steady.gateway.layout(body, steady.token) for body in bodies]
    odd: list[Any] = []

    def keep(number: int, reply: Any) -> None:
        if reply.status != 200 or reply.error.get("code") not in {None, 4030}:
            odd.append((number, reply))

    since, before = len(steady.gateway.records()), steady.upstream.count
    with Load(steady.gateway.address, lambda number: requests[number % 4], keep, callers=3) as load:
        for number, policy in enumerate(itertools.islice(itertools.cycle("ba"), 200)):
            steady.use(policy)
            if number % 4:
                steady.gateway.signal(signal.SIGHUP)  # reads at once; each fourth file is left to the watch
            wait_until(lambda policy=policy: steady.allows(policy), step_s=0.002, what=f"policy {policy}")
    assert (odd, load.cut) == ([], 0)
    assert load.done > 400

    kept = snapshots(steady.gateway)
    verdicts: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    rules: dict[str, set[tuple[str, int]]] = defaultdict(set)
    replayed: set[str] = set()
    decided = [record for record in steady.gateway.records()[since:] if record["kind"] in {"intent", "deny"}]
    for record in decided:
        call = (record["tool"], record["args"]["v"])
        verdicts[record["snapshot"]][call].add(record["decision"])
        rules[record["snapshot"]] |= {(rule["name"], rule["line"]) for rule in record["rules"]}
        facts = json.dumps(record["facts"], sort_keys=True)
        if record["snapshot"] + facts not in replayed:
            replayed.add(record["snapshot"] + facts)
            again = json.loads(_core.Snapshot(kept[record["snapshot"]]).decide(facts))
            assert (again["decision"], again["reason"]) == (record["decision"], record["reason"])
    by_allowed = {
        call: digest for digest, told in verdicts.items() for call, verdict in told.items() if "allow" in verdict
    }
    assert set(by_allowed) == set(ALLOWED.values())
    assert len(verdicts) == 2
    for digest, told in verdicts.items():
        assert sum(verdict == {"allow"} for verdict in told.values()) == 1
        assert all(len(verdict) == 1 for verdict in told.values())
        assert len(rules[digest]) == 1
    forwarded = steady.upstream.calls(before)
    assert {(call.message["params"]["name"], call.message["params"]["arguments"]["v"]) for call in forwarded} == set(
        ALLOWED.values()
    )
    # Rules that changed between a decision and its first byte upstream: decided anew, under a record of its own.
    outcomes = {record["id"]: record["outcome"] for record in steady.gateway.records() if record["kind"] == "outcome"}
    superseded = {decision for decision, outcome in outcomes.items() if outcome == "superseded"}
    vouched = {read((call.header("authorization") or "").removeprefix("Bearer "))[1]["jti"] for call in forwarded}
    assert superseded
    assert not superseded & vouched
    assert vouched <= outcomes.keys()


def test_a_call_under_way_when_the_rules_change_keeps_its_decision(steady: Scene) -> None:
    gate = steady.upstream.gate()

    async def script(seen: Seen, talk: Talk) -> None:
        await gate.wait()
        await polite(seen, talk)

    raw = steady.gateway.layout(tool_call("echo", {"v": "a"}, era="stateless"), steady.token)
    with steady.gateway.wire() as wire:
        with steady.upstream.scripted(script):
            wire.send(raw)
            assert gate.reached.wait(10)
        steady.use("b")
        wait_until(lambda: steady.allows("b"), what="policy b")
        gate.open()
        assert wire.read().json()["result"]
        assert wire.ask(raw).error["code"] == 4030, "the next call on the connection is decided anew"


def test_sigterm_lets_calls_under_way_finish(scene: Scene) -> None:
    gate = scene.upstream.gate()

    async def script(seen: Seen, talk: Talk) -> None:
        await gate.wait()
        await polite(seen, talk)

    def refused() -> bool:
        try:
            with scene.gateway.wire(deadline_s=1.0) as late:
                return late.ask(raw).status == 503
        except (OSError, CutError):
            return True

    raw = scene.gateway.layout(tool_call("echo", {"v": "a"}, era="stateless"), scene.token)
    with scene.upstream.scripted(script), scene.gateway.wire() as wire:
        wire.send(raw)
        assert gate.reached.wait(10)
        scene.gateway.signal(signal.SIGTERM)
        wait_until(refused, what="the closed door")
        before = scene.upstream.count
        gate.open()
        reply = wire.read()
    assert reply.json()["result"]
    assert scene.gateway.end() == 0
    assert scene.upstream.count == before
    kinds = [record["kind"] for record in scene.gateway.records()]
    assert kinds.count("intent") == kinds.count("outcome") >= 1
    assert kinds[-1] == "checkpoint"
    told = scene.gateway.run_json("audit", "verify", "--config", str(scene.gateway.file))
    assert told["ok"] is True


def test_lockdown_refuses_everything_and_is_lifted(scene: Scene) -> None:
    config = ["--config", str(scene.gateway.file)]
    assert scene.allows("a")
    scene.gateway.run("lockdown", *config)
    before = scene.upstream.bytes
    for era in ("session", "stateless"):
        for body in (tool_call("echo", {"v": "a"}, era=era), message("tools/list", {}, era=era)):
            reply = scene.gateway.post(body, scene.token, era=era)
            assert (reply.status, reply.error["code"], reply.error["data"]["reason"]) == (200, 4030, "lockdown")
    scene.use("b")  # a new file does not lift it
    scene.gateway.end()
    scene.gateway.start()
    assert scene.gateway.call("add", {"v": "b"}, scene.token).error["data"]["reason"] == "lockdown"
    assert scene.upstream.bytes == before
    scene.gateway.run("lockdown", "--lift", *config)
    assert scene.allows("b")
    events = [record.get("event") for record in scene.gateway.records() if record["kind"] == "control"]
    assert events == ["lockdown", "lockdown_lifted"]


def test_lockdown_withholds_the_answer_of_an_open_stream(scene: Scene) -> None:
    gate = scene.upstream.gate()
    said = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "begun"}}

    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        await talk.event(said)
        await gate.wait()
        await talk.event(result_for(seen))
        await talk.end()

    body = tool_call("echo", {"v": "a"}, era="stateless", ident="mine")
    with scene.upstream.scripted(script), scene.gateway.wire() as wire:
        wire.send(scene.gateway.layout(body, scene.token))
        pieces = wire.body(wire.read_head())
        assert next(pieces)
        scene.gateway.run("lockdown", "--config", str(scene.gateway.file))
        gate.open()
        told = [json.loads(event["data"]) for event in read_events(b"".join(pieces))]
    assert [(message["id"], message["error"]["data"]["reason"]) for message in told] == [("mine", "lockdown")]
