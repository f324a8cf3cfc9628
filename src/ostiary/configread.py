"""Reads a configuration: the file, and the policy files and key sets that it names.

The only part of the configuration that touches files. Every step adds to one list of problems and goes on with what
is left, so that one run tells of everything.
"""

from __future__ import annotations

import posixpath
import ssl
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ostiary import tls
from ostiary.addresses import split_address
from ostiary.config import Config, Document
from ostiary.configcheck import check, declared, secrets_in
from ostiary.confignodes import below, entries, items, text
from ostiary.errors import ConfigError
from ostiary.faults import empty_values, problems_of, to_data
from ostiary.fields import ALGORITHMS
from ostiary.jwks import JwksError, Key, read_keys
from ostiary.policy import read_policies
from ostiary.policy.moments import known_timezone
from ostiary.policy.names import nearest
from ostiary.yamlsource import KIND_WORDS, Entry, Node, read_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ostiary.errors import Problem
    from ostiary.policy.names import Names

_STAND_IN_GATEWAY = {"listen": "127.0.0.1:8811", "url": "http://127.0.0.1:8811"}
"""The gateway of a partial file that has none: nothing listens, but a snapshot names one."""

_POLICY_KEYS = ("files", "timezone")


def read_config(path: Path, *, partial: bool, assumed: tuple[str, ...]) -> Config:
    """Return the configuration at `path`. Raises `ConfigError` with everything that is wrong with it."""
    reader = _Reader(path.absolute(), partial=partial, assumed=assumed)
    config = reader.read()
    if config is not None:
        return config
    hidden = {(each.file, each.line, each.column) for each in reader.problems if each.secret}
    # What else is said of a place that holds a secret might quote it.
    told = [each for each in reader.problems if each.secret or (each.file, each.line, each.column) not in hidden]
    raise ConfigError(told, folder=path.parent, sources=reader.sources)


class _Reader:
    def __init__(self, path: Path, *, partial: bool, assumed: tuple[str, ...]) -> None:
        self.path = path
        self.partial = partial
        self.assumed = assumed
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.sources = [path]

    def read(self) -> Config | None:
        root = read_file(self.path, self.path.name, self.problems)
        if root is None:
            return None
        if root.kind == "list" and self.partial:
            policy = Entry(name="policy", line=root.line, column=root.column, node=root)
            root = replace(root, kind="mapping", items=(), entries=(policy,))
        if root.kind != "mapping":
            message = f"a configuration is a mapping, not {KIND_WORDS[root.kind]}"
            self.problems.append(root.problem(message, "write `gateway:`, `servers:` and so on"))
            return None
        self.problems.extend(secrets_in(root))
        document = self.document(root)
        names = replace(declared(root, partial=self.partial), assumed=self.assumed)
        self.checks(root, names)
        keys, credential_keys = self.keys(root), self.credential_keys(root)
        self.authorities(root)
        self.tls(root, document)
        self.expired(root, document)
        rules = read_policies(self.policies(root.get("policy")), names, self.problems, self.warnings)
        if document is None or self.problems:
            return None
        return Config(
            path=self.path,
            sections=frozenset(entry.name for entry in root.entries),
            gateway=document.gateway,
            admin=document.admin,
            store=document.store,
            audit=document.audit,
            people=document.people,
            issuers=document.identity.issuers,
            providers=document.identity.providers,
            oauth=document.oauth,
            agents=document.agents,
            services=document.services,
            servers=document.servers,
            keys=keys,
            credential_keys=credential_keys,
            timezone=names.timezone,
            rules=tuple(rules),
            warnings=tuple(self.warnings),
            sources=tuple(self.sources),
        )

    def document(self, root: Node) -> Document | None:
        """Return the typed sections. The policy has a reader of its own."""
        typed = replace(root, entries=tuple(entry for entry in root.entries if entry.name != "policy"))
        data = to_data(typed)
        if self.partial:
            data.setdefault("gateway", _STAND_IN_GATEWAY)
        try:
            return Document.model_validate(data)
        except ValidationError as error:
            self.problems.extend(problems_of(error, typed, Document))
            return None
        finally:
            self.add(empty_values(typed))

    def checks(self, root: Node, names: Names) -> None:
        """Check what no single value can show."""
        found: list[Problem] = []
        check(root, names, found, self.warnings)
        self.add(found)

    def add(self, found: Sequence[Problem]) -> None:
        """Add problems, but not of values that have one already: what is not even a name is not declared either."""
        told = {(each.file, each.line, each.column, each.key) for each in self.problems if not each.secret}
        self.problems.extend(each for each in found if (each.file, each.line, each.column, each.key) not in told)

    def keys(self, root: Node) -> dict[str, tuple[Key, ...]]:
        """Return the keys of each issuer. Explaining a partial file needs none, so none are read for it."""
        found: dict[str, tuple[Key, ...]] = {}
        if self.partial:
            return found
        for entry in entries(below(root, "identity", "issuers")):
            stated = [item.text for item in items(entry.node.get("algorithms"))]
            keys = self.key_set(entry.node.get("jwks"), [each for each in stated if each in ALGORITHMS] or ALGORITHMS)
            if keys is not None:
                found[entry.name] = keys
        return found

    def credential_keys(self, root: Node) -> dict[tuple[str, str, int], tuple[Key, ...]]:
        """Return the keys of each credential that has a key set in a file."""
        found: dict[tuple[str, str, int], tuple[Key, ...]] = {}
        if self.partial:
            return found
        for section in ("agents", "services"):
            for entry in entries(root.get(section)):
                credentials = entry.node.get("credentials")
                for at, credential in enumerate(() if credentials is None else credentials.items):
                    for way in credential.entries:
                        keys = self.key_set(way.node.get("jwks"), ALGORITHMS)
                        if keys is not None:
                            found[section, entry.name, at] = keys
        return found

    def key_set(self, jwks: Node | None, algorithms: Sequence[str]) -> tuple[Key, ...] | None:
        """Return the keys of a set in a file that are good for one of `algorithms`; None if there is no such file."""
        file = below(jwks, "file")
        name = text(file)
        if file is None or not name or "\0" in name:
            return None
        path = self.path.parent / name
        self.sources.append(path)
        try:
            return read_keys(path, algorithms)
        except JwksError as error:
            self.problems.append(file.problem(f"the key set `{name[:200]}` cannot be used: {error}", error.hint))
            return None

    def authorities(self, root: Node) -> None:
        """Look at the file of further certificate authorities, which is read again where it is used."""
        file, used = below(root, "oauth", "ca_file"), below(root, "oauth", "danger_loopback_clients")
        name = text(file)
        if self.partial or file is None or not name or "\0" in name or used is None or not used.switch():
            return
        path = self.path.parent / name
        self.sources.append(path)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except ssl.SSLError:
            self.problems.append(file.problem(f"`{name[:200]}` holds no certificate in PEM"))
        except OSError as error:
            why = error.strerror or type(error).__name__
            self.problems.append(file.problem(f"`{name[:200]}` cannot be read: {why}"))

    def tls(self, root: Node, document: Document | None) -> None:
        """Look at certificate and key, which are read again when they are handed over."""
        section = None if document is None else document.gateway.tls
        node = below(root, "gateway", "tls")
        if document is None or section is None or node is None or self.partial:
            return
        self.sources.extend(tls.files_of(section, self.path.parent))
        try:
            pair = tls.read_pair(section, self.path.parent)
        except tls.TlsError as error:
            self.problems.append((node.get(error.part) or node).problem(str(error), error.hint))
            return
        parts = split_address(document.gateway.url.partition("://")[2])
        for doubt in tls.doubts(pair.leaf, parts[0] if parts else ""):
            self.warnings.append((node.get("cert") or node).problem(doubt))

    def expired(self, root: Node, document: Document | None) -> None:
        """Tell of agents whose time is over."""
        now = time.time()
        for name, agent in ({} if document is None else document.agents).items():
            expires = below(root, "agents", name, "expires")
            if expires is not None and agent.expires is not None and agent.expires <= now:
                message = f"`{name}` has expired: it gets no token, and its calls are refused"
                self.warnings.append(expires.problem(message, "write a later date, or remove the agent"))

    def policies(self, policy: Node | None) -> list[Node]:
        """Return the documents of rules: the one in place, or those in the files that are named."""
        if policy is None:
            return []
        if policy.kind != "mapping":
            return [policy]
        for entry in policy.entries:
            if entry.name not in _POLICY_KEYS:
                hint = nearest(entry.name, _POLICY_KEYS) or "it has `files` and `timezone`, or is a list of rules"
                self.problems.append(entry.problem(f"`{entry.name[:80]}` is not a key of this place", hint))
        self.timezone(policy.get("timezone"))
        files = policy.get("files")
        if files is None:
            self.problems.append(policy.problem("`files` is missing", "write `files: [policy/rules.yaml]`"))
            return []
        if files.kind != "list":
            message = f"expected a list, found {KIND_WORDS[files.kind]}"
            self.problems.append(files.problem(message, "write `files: [policy/rules.yaml]`"))
            return []
        found = (self.policy_file(file) for file in files.items)
        return [node for node in found if node is not None]

    def timezone(self, node: Node | None) -> None:
        if node is not None and (node.kind != "string" or not known_timezone(node.text)):
            hint = "write a name of the time zone database, as in `Europe/Madrid`, or `UTC`"
            self.problems.append(node.problem(f"there is no time zone `{node.text[:80]}`", hint))

    def policy_file(self, file: Node) -> Node | None:
        name = text(file)
        if not name or "\0" in name:
            self.problems.append(file.problem(f"expected the name of a file, found {KIND_WORDS[file.kind]}"))
            return None
        if name.endswith(".cedar"):
            self.problems.append(file.problem("Cedar files are not in this version", "write the rules in YAML"))
            return None
        path = self.path.parent / name
        if path in self.sources:
            self.problems.append(file.problem(f"`{name}` is listed twice", "remove one of them"))
            return None
        self.sources.append(path)
        before = len(self.problems)
        root = read_file(path, posixpath.normpath(name), self.problems)
        for problem in self.problems[before:]:
            if problem.line == 0:  # there is no place in a file that cannot be read: point at its name
                self.problems.remove(problem)
                self.problems.append(file.problem(f"`{name}` {problem.message}", problem.hint))
        if root is not None:
            self.problems.extend(secrets_in(root))
        return root
