"""Checks who is believed: providers, issuers, the clients of agents, credentials, and what we issue ourselves.

The part of `ostiary.configcheck` for the sections `identity` and `oauth`, and for how agents and services get in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from ostiary.addresses import is_loopback, split_address
from ostiary.configidentity import PLATFORM_ISSUERS
from ostiary.confignodes import Checks, below, entries, items, text
from ostiary.fields import RESERVED_ISSUERS, FederationPreset
from ostiary.identity.presets import has_everybody
from ostiary.policy.names import LOCAL, listed, nearest

if TYPE_CHECKING:
    from ostiary.errors import Problem
    from ostiary.policy.names import Names
    from ostiary.yamlsource import Entry, Node

_REGISTERED = (("agents", "agent"), ("services", "service"))


def check_identity(root: Node, names: Names, problems: list[Problem], warnings: list[Problem]) -> None:
    """Add what is wrong with who is believed to `problems`, and what is merely unwise to `warnings`."""
    checks = _Checks(root, names, problems, warnings)
    checks.names_of_sources()
    checks.urls_of_sources()
    checks.issuers()
    checks.providers()
    checks.clients()
    checks.credentials()
    checks.oauth()


@dataclass(slots=True)
class _Checks(Checks):
    workloads: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Every (issuer, subject, audience) of a federated credential, and whose it is."""

    def sources(self) -> list[tuple[str, Entry]]:
        """Return issuers and providers in the order of the file, each with the word for it."""
        found = [
            (word, entry)
            for word, section in (("issuer", "issuers"), ("provider", "providers"))
            for entry in entries(below(self.root, "identity", section))
        ]
        return sorted(found, key=lambda each: (each[1].line, each[1].column))

    def names_of_sources(self) -> None:
        seen: dict[str, str] = {}
        for word, entry in self.sources():
            if entry.name in RESERVED_ISSUERS:
                message = f"the name `{entry.name}` is kept for the gateway's own use"
                self.problems.append(entry.problem(message, "choose another name"))
            elif seen.setdefault(entry.name, word) != word:
                message = f"`{entry.name}` is already the name of {_one(seen[entry.name])}"
                self.problems.append(entry.problem(message, "principals are named by it, so choose another name"))

    def urls_of_sources(self) -> None:
        urls: dict[str, str] = {}
        gateway = text(below(self.root, "gateway", "url"))
        for _, entry in self.sources():
            url = entry.node.get("issuer")
            name = text(url)
            if url is None or name is None:
                continue
            if name in urls:
                message = f"`{name[:80]}` is already the issuer of `{urls[name]}`"
                self.problems.append(url.problem(message, "one issuer is pinned once"))
            elif name == gateway:
                self.problems.append(url.problem("the gateway itself is this issuer", "its own tokens need no entry"))
            urls.setdefault(name, entry.name)

    def issuers(self) -> None:
        for entry in entries(below(self.root, "identity", "issuers")):
            node = entry.node
            self.one_of(node.get("jwks"), "file", "url")
            self.addresses(node, "issuer")
            for server in items(node.get("servers")):
                self.refer(server, self.names.servers, "servers")
            audience, servers = node.get("audience"), node.get("servers")
            if audience is not None and servers is None:
                message = "an audience of its own needs `servers`, the only ones that these tokens open"
                self.problems.append(audience.problem(message, "add `servers: […]`, or remove `audience`"))

    def addresses(self, node: Node, word: str) -> None:
        email = below(node, "claims", "email")
        if email is not None and node.get("email_domains") is None:
            message = f"without `email_domains` no address of this {word} becomes a fact"
            self.warnings.append(email.problem(message, "add `email_domains: […]`"))

    def providers(self) -> None:
        providers = entries(below(self.root, "identity", "providers"))
        for entry in providers:
            if not self.everybody(entry):
                self.addresses(entry.node, "provider")
            scopes = entry.node.get("scopes")
            if scopes is not None and scopes.items and "openid" not in {item.text for item in items(scopes)}:
                message = "without the scope `openid` nobody is signed in"
                self.problems.append(scopes.problem(message, "add `openid`"))
        url = below(self.root, "gateway", "url")
        address = text(url) or ""
        if providers and url is not None and address.startswith("http://") and not _on_loopback(address):
            message = "where people sign in, their browsers must be told `https://`"
            hint = "write `https://…`; plain http is taken on this machine only"
            self.problems.append(url.problem(message, hint))

    def everybody(self, entry: Entry) -> bool:
        """Refuse a provider of the whole world without the domains that are ours: nobody could sign in there."""
        node, preset = entry.node, text(entry.node.get("preset")) or ""
        if node.get("email_domains") is not None or not has_everybody(preset, text(node.get("issuer")) or ""):
            return False
        message = f"anybody can have an account at this `{preset}`, so without `email_domains` nobody may sign in"
        hint = "add `email_domains: [example.com]`, with the domains of your organisation"
        self.problems.append(replace(entry.problem(message, hint), key=f"{node.key}.email_domains"))
        return True

    def one_of(self, node: Node | None, *names: str) -> None:
        """Refuse a mapping that has none of `names`, or several."""
        if node is None or node.kind != "mapping":
            return
        there = [entry for entry in node.entries if entry.name in names]
        if not there and not node.entries:  # another key is told to be unknown, with what is known here
            self.problems.append(node.problem(f"{listed(names)} is missing", "write one of them"))
        for entry in there[1:]:
            self.problems.append(entry.problem(f"`{entry.name}` stands beside `{there[0].name}`", "keep one of them"))

    # How agents and services get in ----------------------------------------------------------------------------------

    def clients(self) -> None:
        """Refuse a client that stands for two agents, or for an agent and for people in person."""
        taken: dict[tuple[str, str], str] = {}
        providers = {entry.name for entry in entries(below(self.root, "identity", "providers"))}
        known = None if self.names.issuers is None else {LOCAL, *self.names.issuers} - providers
        for agent in entries(self.root.get("agents")):
            for issuer in entries(agent.node.get("clients")):
                if issuer.name in providers:
                    message = f"`{issuer.name}` is a provider: who signs in there comes through clients of `{LOCAL}`"
                    self.problems.append(issuer.problem(message, f"write `{LOCAL}: […]`"))
                elif known is not None and issuer.name not in known:
                    message = f"`{issuer.name[:80]}` is not declared in `identity.issuers`"
                    self.problems.append(issuer.problem(message, nearest(issuer.name, known)))
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
        owner = self.own_client(client.text) if issuer == LOCAL else None
        if owner is not None:
            message = f"`{client.text[:80]}` is what {owner} itself is called at the token endpoint"
            self.problems.append(client.problem(message, "people come through a client of another name"))

    def own_client(self, name: str) -> str | None:
        """Return the agent or service that shows its credentials under the client id `name`."""
        for section, kind in _REGISTERED:
            prefix = f"{kind}:{LOCAL}:"
            if name.startswith(prefix):
                return f"{kind} `{name.removeprefix(prefix)[:80]}`"
            if below(self.root, section, name, "credentials") is not None:
                return f"{kind} `{name}`"
        return None

    def credentials(self) -> None:
        for section, kind in _REGISTERED:
            for entry in entries(self.root.get(section)):
                given = entry.node.get("credentials")
                issuer = text(entry.node.get("issuer"))
                if given is not None and issuer is not None and issuer not in RESERVED_ISSUERS:
                    message = f"the tokens of this {kind} come from `{issuer[:80]}`, so it gets none here"
                    hint = "remove `credentials`, or `issuer` and `subject`"
                    self.problems.append(given.problem(message, hint))
                for credential in () if given is None else given.items:
                    self.one_of(credential, "private_key_jwt", "federated")
                    self.one_of(below(credential, "private_key_jwt", "jwks"), "file", "url")
                    for way in credential.entries:
                        if way.name == "federated" and way.node.kind == "mapping":
                            self.federated(way, f"{kind} `{entry.name}`")

    def federated(self, entry: Entry, owner: str) -> None:
        node = entry.node
        self.one_of(node.get("jwks"), "file", "url")
        issuer, preset, gateway = node.get("issuer"), text(node.get("preset")), below(self.root, "gateway", "url")
        if issuer is None and node.get("preset") is not None and preset not in get_args(FederationPreset):
            return  # which presets there are is told at the preset
        if issuer is None and preset not in PLATFORM_ISSUERS:
            hint = "add `issuer:` (that of the cluster)" if preset == "kubernetes" else "add `issuer:`, or a `preset`"
            self.problems.append(replace(entry.problem("`issuer` is missing", hint), key=f"{node.key}.issuer"))
            return
        url = text(issuer) or PLATFORM_ISSUERS.get(preset or "", "")
        if issuer is not None and url == text(gateway):
            self.problems.append(issuer.problem("the gateway itself is this issuer", "name that of the platform"))
        subject = node.get("subject")
        who = text(subject)
        if subject is None or who is None:
            return
        workload = url, who, text(node.get("audience")) or text(gateway) or ""
        if workload in self.workloads:
            message = f"this workload is already {self.workloads[workload]}"
            self.problems.append(subject.problem(message, "keep one of them, or give one an audience of its own"))
        self.workloads.setdefault(workload, owner)

    # What we issue ---------------------------------------------------------------------------------------------------

    def oauth(self) -> None:
        section = self.root.get("oauth")
        registration = below(section, "dynamic_registration")
        if registration is not None and registration.switch() is True:
            message = "anybody who reaches the gateway may register a client"
            hint = "clients with a metadata document need no registration"
            self.warnings.append(registration.problem(message, hint))
        danger, authorities = below(section, "danger_loopback_clients"), below(section, "ca_file")
        on = danger is not None and danger.switch() is True
        address = text(below(self.root, "gateway", "url")) or ""
        if danger is not None and on and not _on_loopback(address):
            message = "client documents on this machine are only for trying out, and `gateway.url` is not on it"
            self.problems.append(danger.problem(message, "remove `danger_loopback_clients`"))
        if authorities is not None and not on:
            message = "`ca_file` counts for client documents on this machine only"
            self.problems.append(authorities.problem(message, "remove it, or add `danger_loopback_clients: on`"))


def _on_loopback(url: str) -> bool:
    parts = split_address(url.partition("://")[2])
    return parts is not None and is_loopback(parts[0])


def _one(word: str) -> str:
    return f"an {word}" if word == "issuer" else f"a {word}"
