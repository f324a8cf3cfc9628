"""One scripted tour of every feature, by unmodified clients, in each era: bare, through the gateway, and through a
gateway whose rules leave some things out.

The gateway's two servers are the same upstream: `notes`, where alice may do everything, and `narrow`, where a few
objects are denied to her.
"""

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.kit.gateway import Gateway, free_port
from tests.kit.issuer import Issuer
from tests.kit.openhouse import EVERYTHING, Everything, open_settings
from tests.kit.tours.plan import LOGIN
from tests.kit.tours.python import sdk, told
from tests.kit.tours.visits import by_fastmcp, by_inspector, by_python, by_typescript, page_by_page
from tests.kit.wire import Reply, message

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

Tour = Callable[[str, str | None, str], dict[str, Any]]
Told = dict[str, Any]

TOOL, PROMPT, QUESTION = "test_image_content", "test_prompt_with_image", "sampling/createMessage"
WATCHED = "test://watched-resource"
RESOURCES = ["test://static-binary", WATCHED, "test://template/12/data"]
LEFT_OUT: list[dict[str, Any]] = [
    {"name": f"left-out-{number}", "deny": {"and": [{"server": {"in": ["narrow", "narrow-paged"]}}, *leaves]}}
    for number, leaves in enumerate(
        [
            [{"mcp_tool": TOOL}],
            [{"resource_uri": {"in": RESOURCES}}],
            [{"prompt": PROMPT}],
            [{"server_request": QUESTION}],
            [{"server_request": "elicitation/create"}, {"argument/url": {"host": "evil.example.com"}}],
        ]
    )
]
CLIENTS = ["python", "fastmcp", pytest.param("typescript", marks=pytest.mark.needs("node"))]
REFUSED = {"refused": 4030, "reason": "denied_by_rule"}


@dataclass
class Scene:
    """The server's own door, and the gateway's two."""

    upstream: str
    gateway: Gateway
    token: str
    seen_bare: dict[tuple[str, str], Told] = field(default_factory=dict)

    def bare(self, name: str, tour: Tour, era: str) -> Told:
        """The tour without a gateway, taken once."""
        if (name, era) not in self.seen_bare:
            self.seen_bare[name, era] = tour(self.upstream, None, era)
        return copy.deepcopy(self.seen_bare[name, era])

    def through(self, tour: Tour, era: str, server: str) -> Told:
        return tour(f"{self.gateway.url}/mcp/{server}", self.token, era)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("tours")
    issuer.write(folder / "jwks.json")
    with Everything() as server:
        config = open_settings(
            server.url, issuer, listen=free_port(), admin=free_port(), policy=[*EVERYTHING, *LEFT_OUT]
        )
        config["servers"]["narrow"] = config["servers"]["notes"]
        paged = server.url.replace("/mcp", "/paged/mcp")
        config["servers"] |= {name: {**config["servers"]["notes"], "url": paged} for name in ("paged", "narrow-paged")}
        config["identity"]["issuers"][issuer.name]["servers"] = list(config["servers"])
        with Gateway(folder, config) as gateway:
            yield Scene(server.url, gateway, issuer.token())


@pytest.fixture
def client(request: pytest.FixtureRequest) -> tuple[str, Tour]:
    name = request.param
    if name == "typescript":
        return name, partial(by_typescript, request.getfixturevalue("node"))
    return name, {"python": by_python, "fastmcp": by_fastmcp}[name]


def apart(one: Told, other: Told) -> list[str]:
    """One line for each step that was told differently."""
    return [
        f"{step}:\n    expected {json.dumps(one.get(step), sort_keys=True)[:700]}\n"
        f"    found    {json.dumps(other.get(step), sort_keys=True)[:700]}"
        for step in [*one, *(step for step in other if step not in one)]
        if one.get(step) != other.get(step)
    ]


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_a_tour_is_the_same_through_the_gateway(client: tuple[str, Tour], era: str, scene: Scene) -> None:
    name, tour = client
    bare = scene.bare(name, tour, era)
    assert bare["era"] == ("2025-11-25" if era == "session" else "2026-07-28")
    differing = apart(bare, scene.through(tour, era, "notes"))
    assert not differing, "\n".join(differing)


def narrowed(told: Told, era: str) -> Told:
    """What is to be told of the same tour where a few objects are left out."""
    for listing, key, hidden in (
        ("tools", "name", [TOOL]),
        ("resources", "uri", RESOURCES),
        ("prompts", "name", [PROMPT]),
    ):
        told[listing][listing] = [each for each in told[listing][listing] if each[key] not in hidden]
    told[f"call {TOOL}"] = {"gave": REFUSED, "progress": []}
    told[f"prompt {PROMPT}"] = REFUSED
    for uri in RESOURCES:
        told[f"read {uri}"] = REFUSED
    for step in told:
        if step.startswith("complete") and PROMPT in step:
            told[step] = REFUSED
        elif step.startswith("complete") and "test://template/{id}/data" in step:
            # The value that leads to a resource which is left out is left out too, and how many there are with it.
            completion = told[step]["completion"]
            completion["values"].remove("12")
            del completion["total"]
    told["asked"] = [each for each in told["asked"] if not each.startswith("sampling")]
    changes = told["changes"]
    if era == "session":
        changes |= {"subscribed": REFUSED, "unsubscribed": REFUSED}
        del changes["updated"]
    else:
        changes["honoured"].pop("resourceSubscriptions")
        changes["heard"] = [each for each in changes["heard"] if "pdated" not in each]
    return told


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_what_the_rules_leave_out_is_neither_shown_nor_done(client: tuple[str, Tour], era: str, scene: Scene) -> None:
    name, tour = client
    expected, found = narrowed(scene.bare(name, tour, era), era), scene.through(tour, era, "narrow")
    # The tool that asks the model may run; how its question's refusal comes back is the era's own matter.
    del expected["call ask_model"]
    assert "answered" not in json.dumps(found.pop("call ask_model"))
    honoured = found["changes"].get("honoured", {})
    if honoured.get("resourceSubscriptions") == []:
        del honoured["resourceSubscriptions"]
    differing = apart(expected, found)
    assert not differing, "\n".join(differing)


@pytest.mark.parametrize(("url", "passes"), [(LOGIN, True), ("https://evil.example.com/connect", False)])
def test_a_page_may_be_asked_for_where_the_rules_let_it_be(era: str, scene: Scene, url: str, passes: bool) -> None:
    """URL elicitation is judged by the host of its page, in the wire form of either era."""

    async def visit() -> tuple[str, list[str]]:
        async with sdk(f"{scene.gateway.url}/mcp/narrow", scene.token, era) as ways:
            gave = await told(ways.call("ask_visit", {"url": url}, None))
            return json.dumps(gave), ways.heard.asked

    gave, asked = asyncio.run(visit())
    assert ("answered: accept" in gave, asked) == (passes, [f"visit {url}"] if passes else [])


def test_lists_are_filtered_page_by_page(era: str, scene: Scene) -> None:
    """Order and number of pages stay; the cursors are ours; a page that is for one caller is for no shared cache."""
    bare = page_by_page(scene.upstream.replace("/mcp", "/paged/mcp"), None, era)
    assert min(len(pages) for name, pages in bare.items() if name == "tools") > 5
    keys = {"tools": "name", "resources": "uri", "templates": "uriTemplate", "prompts": "name"}

    def names(told: Told) -> dict[str, list[list[str]]]:
        kinds = {"templates": "resourceTemplates"}
        return {
            name: [[each[keys[name]] for each in page[kinds.get(name, name)]] for page in pages]
            for name, pages in told.items()
        }

    for server, hidden in (("paged", []), ("narrow-paged", [TOOL, PROMPT, *RESOURCES])):
        found = scene.through(page_by_page, era, server)
        kept = {
            name: [[each for each in page if each not in hidden] for page in pages]
            for name, pages in names(bare).items()
        }
        assert names(found) == kept
        pages = [page for name in keys for page in found[name]]
        assert {page["cacheScope"] for page in pages} == {"private"}
        assert not [page for page in pages if "@" in page.get("nextCursor", "")]


def test_a_cursor_of_one_list_or_caller_is_none_of_another(era: str, scene: Scene, issuer: Issuer) -> None:
    def ask(method: str, params: Told, server: str, token: str) -> Reply:
        opened = era == "session"
        session = [("Mcp-Session-Id", scene.gateway.open_session(token, server=server))] if opened else []
        return scene.gateway.post(message(method, params, era=era), token, era=era, server=server, headers=session)

    cursor = ask("tools/list", {}, "paged", scene.token).json()["result"]["nextCursor"]
    told = {
        case: ask(*case[:1], {"cursor": cursor}, *case[1:]).status
        for case in (
            ("tools/list", "paged", scene.token),
            ("tools/list", "paged", issuer.token(sub="bob@example.com")),
            ("tools/list", "narrow-paged", scene.token),
            ("prompts/list", "paged", scene.token),
        )
    }
    assert list(told.values()) == [200, 400, 400, 400]


@pytest.mark.needs("node")
def test_the_inspector_sees_no_gateway(era: str, scene: Scene, node: str, tmp_path: Path) -> None:
    tour: Tour = partial(by_inspector, node, tmp_path)
    bare = scene.bare("inspector", tour, era)
    assert {each["code"] for each in bare.values()} == {0}
    differing = apart(bare, scene.through(tour, era, "notes"))
    assert not differing, "\n".join(differing)


@pytest.mark.needs("node")
def test_the_inspector_is_refused_what_the_rules_leave_out(era: str, scene: Scene, node: str, tmp_path: Path) -> None:
    found = scene.through(partial(by_inspector, node, tmp_path), era, "narrow")
    names = [tool["name"] for tool in found["tools/list"]["told"]["result"]["tools"]]
    assert ("test_simple_text" in names, TOOL in names) == (True, False)
    # It lists before it calls, so a tool that is not shown is none to it.
    assert (found["tools/call"]["code"], found["tools/call"]["told"]["error"]["code"]) == (5, "tool_not_found")
    assert found["resources/read"]["code"] != 0
    assert "was refused: a rule forbids it" in found["resources/read"]["told"]["error"]["message"]
    assert found["prompts/get"]["code"] == 0
