"""What happened: every decision is a record, and a folder that was touched does not verify."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.kit.gateway import Gateway, line_of
from tests.kit.house import House
from tests.kit.upstream import Seen, Talk, polite

FIELDS = set(
    re.findall(
        r"\w+",
        """id time kind gateway snapshot principal agent act token request task purpose server tool resource prompt
        mcp_method action args_sha256 args facts decision reason rules shadow remedy labels upstream ms prev hash""",
    )
)


def allowed(house: House, era: str) -> tuple[dict[str, Any], dict[str, Any]]:
    since = len(house.gateway.records())
    reply = house.gateway.call("echo", {"text": "x"}, house.alice, era=era)
    assert reply.status == 200
    records = house.gateway.next_record(since, "intent", "outcome", count=2)
    assert [record["kind"] for record in records] == ["intent", "outcome"]
    return records[0], records[1]


def refused(house: House, era: str) -> dict[str, Any]:
    reply = house.gateway.call("read_file", {"path": "/etc/passwd"}, house.alice, era=era)
    return house.gateway.record_of(reply.error["data"]["decision"])


def test_intent_and_outcome_share_the_decision(house: House, era: str) -> None:
    intent, outcome = allowed(house, era)
    assert intent["id"] == outcome["id"]
    assert (intent["decision"], outcome["outcome"]) == ("allow", "ok")
    assert outcome["upstream"]["status"] == 200
    assert outcome["upstream"]["url"] == house.upstream.url
    assert (intent["tool"], intent["action"], intent["mcp_method"]) == ("echo", "read", "tools/call")
    assert intent["request"]["era"] == era
    (rule,) = intent["rules"]
    assert (rule["name"], Path(rule["file"]).name) == ("dev-reads", "ostiary.yaml")
    assert rule["line"] == line_of(house.gateway.file, '"dev-reads"')


def test_the_intent_is_written_before_the_upstream_hears_of_it(house: House, era: str) -> None:
    written: list[int] = []

    async def script(seen: Seen, talk: Talk) -> None:
        lines = b"".join(file.read_bytes() for file in sorted(house.gateway.segments.folder.glob("*.jsonl")))
        records = [json.loads(line) for line in lines.splitlines()]
        written.append(sum(1 for each in records if each["kind"] == "intent" and each["args"] == {"text": f"{era}!"}))
        await polite(seen, talk)

    with house.upstream.scripted(script):
        assert house.gateway.call("echo", {"text": f"{era}!"}, house.alice, era=era).status == 200
    assert written == [1]


def test_allow_and_deny_have_the_same_fields(house: House, era: str) -> None:
    intent, _ = allowed(house, era)
    deny = refused(house, era)
    assert set(intent) == set(deny)
    assert set(deny) >= FIELDS
    assert set(intent["request"]) == set(deny["request"]) >= {"ip", "method", "path", "user_agent", "era", "session"}
    assert set(intent["token"]) == set(deny["token"]) == {"jti", "client_id", "issuer", "scope"}
    assert (deny["decision"], deny["reason"], deny["rules"][0]["name"]) == ("deny", "denied_by_rule", "no-etc")


def test_a_refusal_before_anyone_is_known_is_recorded_too(house: House, era: str) -> None:
    intent, _ = allowed(house, era)
    since = len(house.gateway.records())
    house.gateway.call("echo", {"text": "x"}, None, era=era)
    (deny,) = house.gateway.next_record(since, "deny")
    assert (deny["reason"], set(deny) >= FIELDS) == ("token_missing", True)
    assert set(intent) == set(deny)


def test_show_joins_intent_and_outcome(house: House, era: str) -> None:
    intent, outcome = allowed(house, era)
    shown = house.gateway.run_json("audit", "show", intent["id"], "--config", str(house.gateway.file))
    assert isinstance(shown, dict)
    assert (shown["id"], shown["decision"], shown["tool"]) == (intent["id"], "allow", "echo")
    assert shown["upstream"] == outcome["upstream"]
    assert shown["outcome"] == "ok"


def test_explain_says_which_rule_decided(house: House) -> None:
    deny = refused(house, "stateless")
    done = house.gateway.run("explain", deny["id"], "--config", str(house.gateway.file), "--json", check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["decision"], told["reason"]) == (1, "deny", "denied_by_rule")
    assert (told["replay"], told["same"]) == ("agree", True)
    (rule,) = told["rules"]
    assert (rule["name"], rule["line"]) == ("no-etc", line_of(house.gateway.file, '"no-etc"'))


def test_explain_names_what_came_nearest(house: House) -> None:
    words = ["--principal", "human:corp:alice@example.com", "--server", "notes", "--tool", "delete_file"]
    told = house.gateway.run(
        "explain", *words, "--args", "{}", "--config", str(house.gateway.file), "--json", check=False
    )
    answer = json.loads(told.stdout)
    assert (answer["decision"], answer["reason"]) == ("deny", "no_rule")
    assert "dev-reads" in [rule["name"] for rule in answer["nearest"]]


def verify(gateway: Gateway, folder: Path | None = None) -> tuple[int, dict[str, Any]]:
    where = ["--dir", str(folder)] if folder is not None else []
    done = gateway.run("audit", "verify", "--json", "--config", str(gateway.file), *where, check=False)
    return done.returncode, json.loads(done.stdout)


def test_a_live_folder_verifies(house: House) -> None:
    allowed(house, "stateless")
    code, told = verify(house.gateway)
    assert (code, told["ok"], told["first_bad"]) == (0, True, None)
    assert told["records"] >= 2


def edit(lines: list[bytes]) -> tuple[list[bytes], int]:
    lines[2] = lines[2].replace(b'"kind"', b'"Kind"')
    return lines, 2


def delete(lines: list[bytes]) -> tuple[list[bytes], int]:
    return lines[:2] + lines[3:], 2


def swap(lines: list[bytes]) -> tuple[list[bytes], int]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]], 2


@pytest.mark.parametrize("harm", [edit, delete, swap])
def test_a_touched_folder_does_not_verify_and_the_place_is_named(house: House, harm: Any, tmp_path: Path) -> None:
    """Attack L09, on a copy of the whole project folder."""
    for _ in range(3):
        allowed(house, "stateless")
    copy = tmp_path / "copy"
    shutil.copytree(house.gateway.folder, copy, ignore=shutil.ignore_patterns("*.sock"))
    segment = min((copy / "var" / "audit").glob("*.jsonl"))
    lines, first = harm(segment.read_bytes().splitlines(keepends=True))
    segment.write_bytes(b"".join(lines))
    words = ["audit", "verify", "--json", "--config", str(copy / "ostiary.yaml")]
    done = house.gateway.run(*words, check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert (told["first_bad"]["segment"], told["first_bad"]["index"]) == (segment.name, first)
    assert told["first_bad"]["why"]


def test_what_a_caller_writes_cannot_make_a_line(house: House, era: str) -> None:
    """Attack L08: CR, LF, ANSI and JSON in every place that is recorded."""
    evil = '\r\n\x1b[2J{"kind":"intent","decision":"allow"}\u2028'
    since = len(house.gateway.records())
    reply = house.gateway.call(
        "delete_file", {"path": evil, evil: 1}, house.alice, era=era, headers=[("User-Agent", 'x","decision":"allow')]
    )
    assert reply.error["code"] == 4030
    (deny,) = house.gateway.next_record(since, "deny")
    assert deny["args"] == {"path": evil, evil: 1}
    assert deny["request"]["user_agent"] == 'x","decision":"allow'
    assert verify(house.gateway)[0] == 0


def test_the_recorded_facts_give_the_same_decision(house: House, era: str, tmp_path: Path) -> None:
    """Requirement R35: `facts` is all that a replay needs."""
    intent, _ = allowed(house, era)
    for record, decision in ((intent, "allow"), (refused(house, era), "deny")):
        facts = tmp_path / "facts.json"
        facts.write_text(json.dumps(record["facts"]))
        done = house.gateway.run(
            "explain", "--policy", str(house.gateway.file), "--facts", str(facts), "--json", check=False
        )
        told = json.loads(done.stdout)
        assert (told["decision"], told["reason"]) == (decision, record["reason"])
        assert [rule["name"] for rule in told["rules"]] == [rule["name"] for rule in record["rules"]]


def test_the_metrics_hold_no_token_and_count(house: House) -> None:
    house.gateway.call("echo", {"text": "x"}, house.alice)
    text = house.gateway.admin_get("/metrics").body.decode()
    assert "ostiary" in text
    assert house.alice.rsplit(".", 1)[1] not in text
