"""The official SDK clients, unmodified, through the gateway to an official SDK server, in both eras."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.kit.clients import SdkServer, Told, python_client, visit_python, visit_typescript
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.house import House
from tests.kit.issuer import Issuer
from tests.kit.upstream import Seen, Talk, polite, polite_events

Visit = Callable[..., Told]

CLIENTS = [
    "python",
    pytest.param("typescript", marks=pytest.mark.needs("node")),
]
FOR_ALICE = ["echo", "read_file", "add", "count"]


@pytest.fixture
def visit(request: pytest.FixtureRequest) -> Visit:
    if request.param == "python":
        return visit_python
    return partial(visit_typescript, request.getfixturevalue("node"))


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[tuple[Gateway, SdkServer]]:
    """A gateway in front of a server on the official SDK that accepts nobody but this gateway."""
    folder = tmp_path_factory.mktemp("sdk")
    issuer.write(folder / "jwks.json")
    port, listen = free_port(), free_port()
    upstream = f"http://127.0.0.1:{port}/mcp"
    config = settings({"notes": upstream}, issuer, listen=listen, admin=free_port())
    guard = {"issuer": f"http://127.0.0.1:{listen}", "audience": upstream}
    guard["jwks"] = f"{guard['issuer']}/.well-known/jwks.json"
    with Gateway(folder, config) as gateway, SdkServer(port, **guard) as server:
        yield gateway, server


@pytest.mark.parametrize("visit", CLIENTS, indirect=True)
def test_a_client_lists_and_calls_and_is_refused_cleanly(
    visit: Visit, era: str, sdk: tuple[Gateway, SdkServer], issuer: Issuer
) -> None:
    gateway, server = sdk
    already = len(server.calls())
    told = visit(
        f"{gateway.url}/mcp/notes",
        issuer.token(),
        [
            ("echo", {"text": "hello"}),
            ("delete_file", {"path": "/home/a"}),
            ("add", {"a": 1, "b": 2}),
            ("read_file", {"path": "/etc/passwd"}),
        ],
        era=era,
    )
    assert (told.era, told.tools) == (era, FOR_ALICE)
    echoed, not_allowed, added, forbidden = told.answers
    assert (echoed, added) == ({"text": "hello", "error": False}, {"text": "3", "error": False})
    assert [(each["code"], each["data"]["reason"]) for each in (not_allowed, forbidden)] == [
        (4030, "no_rule"),
        (4030, "denied_by_rule"),
    ]
    for refused in (not_allowed, forbidden):
        record = gateway.record_of(refused["data"]["decision"])
        assert (record["kind"], record["reason"]) == ("deny", refused["data"]["reason"])
    assert [call["params"]["name"] for call in server.calls()[already:]] == ["echo", "add"]


@pytest.mark.parametrize("visit", CLIENTS, indirect=True)
def test_an_agent_with_a_token_of_ours_is_held_to_its_ceiling(
    visit: Visit, era: str, sdk: tuple[Gateway, SdkServer]
) -> None:
    gateway, server = sdk
    already = len(server.calls())
    calls = [("add", {"a": 1, "b": 2}), ("delete_file", {"path": "/home/a"})]
    told = visit(f"{gateway.url}/mcp/notes", gateway.issue(), calls, era=era)
    assert (told.era, told.tools) == (era, FOR_ALICE)
    assert told.answers[0] == {"text": "3", "error": False}
    assert (told.answers[1]["code"], told.answers[1]["data"]["reason"]) == (4030, "ceiling")
    assert [call["params"]["name"] for call in server.calls()[already:]] == ["add"]


@pytest.mark.parametrize("visit", CLIENTS, indirect=True)
def test_answers_that_come_as_events_reach_the_client(visit: Visit, era: str, house: House) -> None:
    with house.upstream.scripted(polite_events):
        told = visit(f"{house.gateway.url}/mcp/notes", house.alice, [("echo", {"text": "hello"})], era=era)
    assert (told.era, told.tools) == (era, ["echo", "read_file", "add"])
    assert told.answers == [{"text": '{"text": "hello"}', "error": False}]


def test_progress_reaches_the_program(era: str, sdk: tuple[Gateway, SdkServer], issuer: Issuer) -> None:
    import asyncio

    gateway, _ = sdk
    steps: list[float] = []

    async def visit() -> str:
        async def told(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        async with python_client(f"{gateway.url}/mcp/notes", issuer.token(), era=era) as client:
            result = await client.call_tool("count", {"to": 3}, progress_callback=told)
            return str(result.content[0].text)

    assert (asyncio.run(visit()), steps) == ("3", [1, 2, 3])


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[tuple[Gateway, SdkServer]]:
    """A gateway that gives refusals as results."""
    folder = tmp_path_factory.mktemp("result")
    issuer.write(folder / "jwks.json")
    with SdkServer() as server:
        config = settings({"notes": server.url}, issuer, listen=free_port(), admin=free_port())
        config["gateway"]["refusals"] = "result"
        with Gateway(folder, config) as gateway:
            yield gateway, server


@pytest.mark.parametrize("visit", CLIENTS, indirect=True)
def test_refusals_may_come_as_results_that_the_model_reads(
    visit: Visit, era: str, telling: tuple[Gateway, SdkServer], issuer: Issuer
) -> None:
    gateway, server = telling
    told = visit(f"{gateway.url}/mcp/notes", issuer.token(), [("delete_file", {"path": "/x"})], era=era)
    (answer,) = told.answers
    assert answer["error"] is True
    assert answer["text"].startswith("The call of `delete_file` on `notes` was refused")
    assert server.calls() == []


ANSWERS_OF_OLD_SERVERS: dict[str, tuple[bytes, str]] = {
    "an error with no id": (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"x"}}', "application/json"),
    "an error with an id of its own": (
        b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"x"}}',
        "application/json",
    ),
    "a plain word": (b"Bad Request", "text/plain"),
}


@pytest.mark.parametrize("visit", CLIENTS, indirect=True)
@pytest.mark.parametrize("case", list(ANSWERS_OF_OLD_SERVERS))
def test_a_client_that_probes_finds_an_old_server(visit: Visit, case: str, house: House) -> None:
    """A server of the session era alone answers the probe with its own kind of 400, and the client falls back."""
    body, content_type = ANSWERS_OF_OLD_SERVERS[case]

    async def script(seen: Seen, talk: Talk) -> None:
        if seen.stateless:
            await talk.whole(body, status=400, content_type=content_type)
        else:
            await polite(seen, talk)

    with house.upstream.scripted(script):
        told = visit(f"{house.gateway.url}/mcp/notes", house.alice, [("echo", {"text": "x"})], era="stateless")
    assert (told.era, told.answers) == ("session", [{"text": '{"text": "x"}', "error": False}])
