"""Checks what no single value can show: references, clashes, and secrets that stand in the file.

It works on the nodes of the file, not on typed values, so that a wrong type in one place does not hide a wrong
reference in another: one run tells of every fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ostiary.addresses import is_loopback, split_address
from ostiary.fields import RESERVED_ISSUERS
from ostiary.policy.names import Names, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ostiary.errors import Problem
    from ostiary.yamlsource import Entry, Node

_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----")
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*")
_REGISTRIES = (("people", "human"), ("agents", "agent"), ("services", "service"))


def below(node: Node | None, *names: str) -> Node | None:
    """Return the value at a path of names, or None."""
    for name in names:
        node = None if node is None else node.get(name)
    return node


def entries(node: Node | None) -> tuple[Entry, ...]:
    """Return the entries of a mapping; none of anything else."""
    return () if node is None else node.entries


def items(node: Node | None) -> tuple[Node, ...]:
    """Return the text items of a list; none of anything else."""
    return () if node is None else tuple(item for item in node.items if item.kind == "string")


def text(node: Node | None) -> str | None:
    """Return the text of a text value, or None."""
    return node.value if node is not None and isinstance(node.value, str) else None


def declared(root: Node, *, partial: bool) -> Names:
    """Return who and what the file declares. A section that cannot be read is unknown, not empty.

    With `partial` so is one that is not there.
    """

    def given(*path: str) -> bool:
        node = below(root, *path)
        return not partial if node is None else node.kind == "mapping"

    def ids(section: str, kind: str) -> dict[str, str | None]:
        return {entry.name: _principal(entry, kind) for entry in entries(root.get(section))}

    def registered(section: str, kind: str) -> dict[str, str]:
        return {key: known or f"{kind}:local:{key}" for key, known in ids(section, kind).items()}

    issuers = {entry.name: text(entry.node.get("type")) or "" for entry in entries(below(root, "identity", "issuers"))}
    servers = {
        entry.name: frozenset(tool.name for tool in entries(entry.node.get("tools")))
        for entry in entries(root.get("servers"))
    }
    return Names(
        people=ids("people", "human") if given("people") else None,
        agents=registered("agents", "agent") if given("agents") else None,
        services=registered("services", "service") if given("services") else None,
        servers=servers if given("servers") else None,
        issuers=issuers if given("identity", "issuers") else None,
        timezone=text(below(root, "policy", "timezone")) or "UTC",
    )


def _principal(entry: Entry, kind: str) -> str | None:
    issuer, subject = text(entry.node.get("issuer")), text(entry.node.get("subject"))
    return None if issuer is None or subject is None else f"{kind}:{issuer}:{subject}"


def check(root: Node, names: Names, problems: list[Problem], warnings: list[Problem]) -> None:
    """Add what is wrong between the values of a file to `problems`, and what is merely unwise to `warnings`."""
    checks = _Checks(root, names, problems, warnings)
    checks.repetitions()
    checks.issuers()
    checks.registries()
    checks.clients()
    checks.agents()
    checks.servers()
    checks.doors()


@dataclass(slots=True)
class _Checks:
    """One pass over a file."""

    root: Node
    names: Names
    problems: list[Problem]
    warnings: list[Problem]

    def refer(self, node: Node | None, known: Iterable[str] | None, section: str) -> str | None:
        """Return the name in `node` if `section` declares it, and report it if not."""
        name = text(node)
        if node is None or name is None or known is None:
            return None
        if name in known:
            return name
        hint = nearest(name, known) or f"declare it in `{section}`"
        self.problems.append(node.problem(f"`{name[:80]}` is not declared in `{section}`", hint))
        return None

    def repetitions(self) -> None:
        """Refuse values that stand twice in one list."""
        for entry in entries(self.root):
            if entry.name == "policy":
                continue
            for node in entry.node.walk():
                first: dict[str, Node] = {}
                for item in items(node):
                    before = first.setdefault(item.text, item)
                    if before is not item:
                        message = f"`{item.text[:80]}` is listed twice"
                        self.problems.append(item.problem(message, "remove one of them"))

    def issuers(self) -> None:
        urls: dict[str, str] = {}
        gateway = text(below(self.root, "gateway", "url"))
        for entry in entries(below(self.root, "identity", "issuers")):
            if entry.name in RESERVED_ISSUERS:
                message = f"the name `{entry.name}` is kept for the gateway's own use"
                self.problems.append(entry.problem(message, "choose another name"))
            node = entry.node
            for server in items(node.get("servers")):
                self.refer(server, self.names.servers, "servers")
            audience, servers = node.get("audience"), node.get("servers")
            if audience is not None and servers is None:
                message = "an audience of its own needs `servers`, the only ones that these tokens open"
                self.problems.append(audience.problem(message, "add `servers: […]`, or remove `audience`"))
            email = below(node, "claims", "email")
            if email is not None and node.get("email_domains") is None:
                message = "without `email_domains` no address of this issuer becomes a fact"
                self.warnings.append(email.problem(message, "add `email_domains: […]`"))
            url = node.get("issuer")
            name = text(url)
            if url is None or name is None:
                continue
            if name in urls:
                message = f"`{name[:80]}` is already the issuer of `{urls[name]}`"
                self.problems.append(url.problem(message, "one issuer is pinned once"))
            elif name == gateway:
                self.problems.append(url.problem("the gateway itself is this issuer", "its own tokens need no entry"))
            urls.setdefault(name, entry.name)

    def registries(self) -> None:
        """Check who owns what, and by which issuer each principal is known."""
        for section in ("agents", "services", "servers"):
            for entry in entries(self.root.get(section)):
                self.refer(entry.node.get("owner"), self.names.people, "people")
        for section, kind in _REGISTRIES:
            seen: dict[str, str] = {}
            for entry in entries(self.root.get(section)):
                self.known_by(entry, section, kind)
                principal = _principal(entry, kind)
                if principal is None:
                    continue
                if principal in seen:
                    place = entry.node.get("subject") or entry.node
                    message = f"`{entry.name}` and `{seen[principal]}` are the same principal, `{principal[:120]}`"
                    self.problems.append(place.problem(message, "keep one of them"))
                seen.setdefault(principal, entry.name)

    def known_by(self, entry: Entry, section: str, kind: str) -> None:
        issuer, subject = entry.node.get("issuer"), entry.node.get("subject")
        if (issuer is None) != (subject is None):
            there, missing = (issuer, "subject") if issuer is not None else (subject, "issuer")
            if there is not None:
                self.problems.append(there.problem(f"`{missing}` is missing beside this", "write both, or neither"))
        name = text(issuer)
        if issuer is None or name is None:
            return
        if name in RESERVED_ISSUERS:
            hint = "people need an issuer of their own" if kind == "human" else "leave `issuer` and `subject` out"
            self.problems.append(issuer.problem(f"`{name}` is the gateway itself", hint))
            return
        known = self.refer(issuer, self.names.issuers, "identity.issuers")
        speaks_for = None if known is None or self.names.issuers is None else self.names.issuers[known]
        if speaks_for and speaks_for != kind:
            message = f"the issuer `{name}` has `type: {speaks_for[:20]}`, so it knows no {section}"
            self.problems.append(issuer.problem(message, f"name an issuer with `type: {kind}`"))

    def clients(self) -> None:
        """Refuse a client that stands for two agents, or for an agent and for people in person."""
        taken: dict[tuple[str, str], str] = {}
        for agent in entries(self.root.get("agents")):
            for issuer in entries(agent.node.get("clients")):
                if self.names.issuers is not None and issuer.name not in self.names.issuers:
                    message = f"`{issuer.name[:80]}` is not declared in `identity.issuers`"
                    self.problems.append(issuer.problem(message, nearest(issuer.name, self.names.issuers)))
                for client in (issuer.node, *issuer.node.items):
                    if text(client) is not None:
                        self.client(agent.name, issuer.name, client, taken)

    def client(self, agent: str, issuer: str, client: Node, taken: dict[tuple[str, str], str]) -> None:
        other = taken.setdefault((issuer, client.text), agent)
        if other != agent:
            message = f"the client `{client.text[:80]}` of `{issuer}` already stands for `{other}`"
            self.problems.append(client.problem(message, "a client is one agent"))
        direct = items(below(self.root, "identity", "issuers", issuer, "direct"))
        if client.text in {each.text for each in direct}:
            message = f"`{issuer}` lists the client `{client.text[:80]}` in `direct`, so it acts in person"
            self.problems.append(client.problem(message, "a client is an agent or acts in person, not both"))

    def agents(self) -> None:
        for entry in entries(self.root.get("agents")):
            ceiling = entry.node.get("ceiling")
            servers = list(items(below(ceiling, "servers")))
            for node in servers:
                self.refer(node, self.names.servers, "servers")
            for node in items(below(ceiling, "tools")):
                self.ceiling_tool(node, {server.text for server in servers})
            lacking = [name for name in ("servers", "classes") if not _filled(below(ceiling, name))]
            if lacking:
                what = " and ".join(f"`{name}`" for name in lacking)
                message = f"the ceiling of `{entry.name}` names no {what}, so this agent may do nothing"
                place = ceiling.problem if ceiling is not None else entry.problem
                self.warnings.append(place(message, "write `ceiling: {servers: […], classes: […]}`"))

    def ceiling_tool(self, node: Node, ceiling: set[str]) -> None:
        server, slash, tool = node.text.partition("/")
        if not (server and slash and tool):
            self.problems.append(node.problem(f"`{node.text[:80]}` is not a tool", "write `server/tool`"))
            return
        known = self.names.servers
        if known is not None and server not in known:
            hint = nearest(server, known) or "declare it in `servers`"
            self.problems.append(node.problem(f"`{server[:80]}` is not declared in `servers`", hint))
            return
        if server not in ceiling:
            message = f"`{server[:80]}` is not among the `servers` of this ceiling"
            self.problems.append(node.problem(message, "add it there, or remove the tool"))
        if known is not None and tool not in known[server]:
            message = f"`{tool[:80]}` is not listed in `servers.{server}.tools`: only its default class is known"
            self.warnings.append(node.problem(message, nearest(tool, known[server])))

    def servers(self) -> None:
        for entry in entries(self.root.get("servers")):
            pins = entry.node.get("pins")
            if pins is not None and pins.switch() is False:
                message = f"tools of `{entry.name}` are not pinned: a changed definition is not noticed"
                self.warnings.append(pins.problem(message))

    def doors(self) -> None:
        """Check the addresses of the two doors against one another, and how far they reach."""
        gateway, admin = below(self.root, "gateway", "listen"), below(self.root, "admin", "listen")
        url = below(self.root, "gateway", "url")
        address = text(url)
        if url is not None and address is not None:
            self.transport(url, address)
        public = split_address(text(gateway) or "")
        private = split_address(text(admin) or ("127.0.0.1:8812" if gateway is not None else ""))
        if private is None:
            return
        if admin is not None and not is_loopback(private[0]):
            self.warnings.append(admin.problem("the admin door is open beyond this machine", "write `127.0.0.1:8812`"))
        wild = {"0.0.0.0", "::"}  # noqa: S104  (compared with, not bound)
        if public is None or public[1] != private[1] or not public[1]:
            return
        if public[0] == private[0] or wild & {public[0], private[0]}:
            place = admin or gateway
            if place is not None:
                message = "the public door and the admin door have the same address"
                self.problems.append(place.problem(message, "choose another port for one of them"))

    def transport(self, url: Node, address: str) -> None:
        """Check that what clients are told to speak is what is spoken."""
        tls, proxies = below(self.root, "gateway", "tls"), below(self.root, "gateway", "trusted_proxies")
        secure = address.startswith("https://")
        if tls is not None and not secure:
            self.problems.append(url.problem("with `tls` clients must be told `https://`", "write `https://…` here"))
        if tls is None and secure and not _filled(proxies):
            message = "nothing here speaks TLS, so a proxy in front must"
            self.warnings.append(url.problem(message, "add `tls`, or name the proxy in `trusted_proxies`"))
        parts = split_address(address.removeprefix("http://"))
        if tls is None and not secure and parts is not None and not is_loopback(parts[0]):
            message = "tokens cross the network unencrypted"
            self.warnings.append(url.problem(message, "add `tls` or put TLS in front, and write `https://…` here"))


def _filled(node: Node | None) -> bool:
    return node is not None and bool(node.items)


def secrets_in(root: Node) -> Iterator[Problem]:
    """Yield a problem for everything in a file that looks like a private key or a token."""
    hint = "take it out, and consider it known to others; secrets are given as `env:NAME` or `file:PATH`"
    for node in root.walk():
        places = [(node.text, node.problem), *((entry.name, entry.problem) for entry in node.entries)]
        for value, problem in places:
            what = "a private key" if _PRIVATE_KEY.search(value) else "a token" if _JWT.search(value) else ""
            if what:
                found = problem(f"this looks like {what}, and a secret must not be written here", hint)
                # The key may be what looks like a secret, and would be told as part of the path.
                yield replace(found, secret=True, key="")
