"""Checks what no single value can show: references, clashes, and secrets that stand in the file.

It works on the nodes of the file, not on typed values, so that a wrong type in one place does not hide a wrong
reference in another: one run tells of every fault.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ostiary.addresses import is_loopback, split_address
from ostiary.confignodes import Checks, below, entries, filled, items, text
from ostiary.fields import RESERVED_ISSUERS
from ostiary.identitycheck import check_identity
from ostiary.jwks import PRIVATE_MEMBERS
from ostiary.policy.names import Names, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostiary.errors import Problem
    from ostiary.yamlsource import Entry, Node

_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----")
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*")
_LOOKS = "this looks like {}, and a secret must not be written here"
_REGISTRIES = (("people", "human"), ("agents", "agent"), ("services", "service"))


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

    servers = {
        entry.name: frozenset(tool.name for tool in entries(entry.node.get("tools")))
        for entry in entries(root.get("servers"))
    }
    return Names(
        people=ids("people", "human") if given("people") else None,
        agents=registered("agents", "agent") if given("agents") else None,
        services=registered("services", "service") if given("services") else None,
        servers=servers if given("servers") else None,
        issuers=_sources(root, partial=partial),
        timezone=text(below(root, "policy", "timezone")) or "UTC",
    )


def _sources(root: Node, *, partial: bool) -> dict[str, str] | None:
    """Return the type of principal that each issuer and provider speaks for, or None where that is unknown."""
    issuers, providers = below(root, "identity", "issuers"), below(root, "identity", "providers")
    there = [node for node in (issuers, providers) if node is not None]
    if any(node.kind != "mapping" for node in there) or (partial and not there):
        return None
    types = {entry.name: text(entry.node.get("type")) or "" for entry in entries(issuers)}
    return {**types, **dict.fromkeys((entry.name for entry in entries(providers)), "human")}


def _principal(entry: Entry, kind: str) -> str | None:
    issuer, subject = text(entry.node.get("issuer")), text(entry.node.get("subject"))
    return None if issuer is None or subject is None else f"{kind}:{issuer}:{subject}"


def check(root: Node, names: Names, problems: list[Problem], warnings: list[Problem]) -> None:
    """Add what is wrong between the values of a file to `problems`, and what is merely unwise to `warnings`."""
    checks = _Checks(root, names, problems, warnings)
    checks.repetitions()
    check_identity(root, names, problems, warnings)
    checks.registries()
    checks.agents()
    checks.servers()
    checks.doors()


class _Checks(Checks):
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

    def registries(self) -> None:
        """Check who owns what, and by which issuer each principal is known."""
        for section in ("agents", "services", "servers"):
            for entry in entries(self.root.get(section)):
                owner, deputy = entry.node.get("owner"), entry.node.get("deputy")
                for each in (owner, deputy):
                    self.refer(each, self.names.people, "people")
                if deputy is not None and text(deputy) is not None and text(deputy) == text(owner):
                    message = f"`{deputy.text[:80]}` is the owner already, and a deputy stands in for the owner"
                    self.problems.append(deputy.problem(message, "name somebody else, or remove `deputy`"))
        self.addresses()
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

    def addresses(self) -> None:
        """Refuse one address for two people: who signs in with it is one of them."""
        seen: dict[str, str] = {}
        for entry in entries(self.root.get("people")):
            email = entry.node.get("email")
            address = text(email)
            if email is None or address is None:
                continue
            first = seen.setdefault(address.lower(), entry.name)
            if first != entry.name:
                message = f"`{address[:80]}` is already the address of `{first}`"
                self.problems.append(email.problem(message, "give each person an address of their own"))

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
        sections = ["identity.issuers"] if kind != "human" else ["identity.providers", "identity.issuers"]
        known = self.refer(issuer, self.names.issuers, *sections)
        speaks_for = None if known is None or self.names.issuers is None else self.names.issuers[known]
        if speaks_for and speaks_for != kind:
            message = f"the issuer `{name}` has `type: {speaks_for[:20]}`, so it knows no {section}"
            self.problems.append(issuer.problem(message, f"name an issuer with `type: {kind}`"))

    def agents(self) -> None:
        for entry in entries(self.root.get("agents")):
            ceiling = entry.node.get("ceiling")
            servers = list(items(below(ceiling, "servers")))
            for node in servers:
                self.refer(node, self.names.servers, "servers")
            for node in items(below(ceiling, "tools")):
                self.ceiling_tool(node, {server.text for server in servers})
            lacking = [name for name in ("servers", "classes") if not filled(below(ceiling, name))]
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
        self.stored_credentials()

    def stored_credentials(self) -> None:
        """Refuse one credential in `Authorization` and in another header: a bearer token looks different in each."""
        first: dict[str, tuple[str, str]] = {}
        for entry in entries(self.root.get("servers")):
            identity = entry.node.get("identity")
            credential, header = below(identity, "credential"), below(identity, "header")
            name = text(credential)
            if credential is None or name is None or (header is not None and text(header) is None):
                continue
            place, wanted = header or credential, text(header) or "Authorization"
            server, before = first.setdefault(name, (entry.name, wanted))
            if (before.lower() == "authorization") != (wanted.lower() == "authorization"):
                message = f"`{name[:80]}` goes into `{before[:80]}` for `{server}`, so not into `{wanted[:80]}` too"
                self.problems.append(place.problem(message, "set the value under a second name, and write that here"))

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
        if tls is None and secure and not filled(proxies):
            message = "nothing here speaks TLS, so a proxy in front must"
            self.warnings.append(url.problem(message, "add `tls`, or name the proxy in `trusted_proxies`"))
        parts = split_address(address.removeprefix("http://"))
        if tls is None and not secure and parts is not None and not is_loopback(parts[0]):
            message = "tokens cross the network unencrypted"
            self.warnings.append(url.problem(message, "add `tls` or put TLS in front, and write `https://…` here"))


def secrets_in(root: Node) -> Iterator[Problem]:
    """Yield a problem for everything in a file that looks like a private key or a token."""
    hint = "take it out, and consider it known to others; secrets are given as `env:NAME` or `file:PATH`"
    for node in root.walk():
        if node.get("kty") is not None and any(node.get(member) is not None for member in PRIVATE_MEMBERS):
            yield replace(node.problem(_LOOKS.format("a private key"), hint), secret=True)
        places = [(node.text, node.problem), *((entry.name, entry.problem) for entry in node.entries)]
        for value, problem in places:
            what = "a private key" if _PRIVATE_KEY.search(value) else "a token" if _JWT.search(value) else ""
            if what:
                found = problem(_LOOKS.format(what), hint)
                # The key may be what looks like a secret, and would be told as part of the path.
                yield replace(found, secret=True, key="")
