"""What every check of the file works with: the nodes at paths of names, and where to tell of what is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostiary.policy.names import listed, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ostiary.errors import Problem
    from ostiary.policy.names import Names
    from ostiary.yamlsource import Entry, Node


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


def filled(node: Node | None) -> bool:
    """Say whether a list is there and holds something."""
    return node is not None and bool(node.items)


@dataclass(slots=True)
class Checks:
    """One pass over a file. A file with `problems` is not used; `warnings` are only told."""

    root: Node
    names: Names
    problems: list[Problem]
    warnings: list[Problem]

    def refer(self, node: Node | None, known: Iterable[str] | None, *sections: str) -> str | None:
        """Return the name in `node` if one of `sections` declares it, and report it if not."""
        name = text(node)
        if node is None or name is None or known is None:
            return None
        if name in known:
            return name
        hint = nearest(name, known) or f"declare it in {listed(sections)}"
        self.problems.append(node.problem(f"`{name[:80]}` is not declared in {listed(sections)}", hint))
        return None
