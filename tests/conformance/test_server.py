"""The official conformance suite against a server with one of everything: bare, and through the gateway.

The gateway's policy allows the caller everything, so the suite must see no difference in any scenario that it runs,
scored or not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.kit import suite
from tests.kit.gateway import Gateway, free_port
from tests.kit.issuer import Issuer
from tests.kit.openhouse import Everything, open_settings
from tests.kit.shim import Shim

pytestmark = pytest.mark.needs("node")

REQUIRED = "--requirements"
LATER = "--suite", "all", "--spec-version"
RUNS: dict[str, tuple[tuple[str, ...], int, int]] = {
    "2025-03-26": (LATER, 1, 3),
    "2025-06-18": (LATER, 27, 56),
    "2025-11-25": ((REQUIRED,), 33, 84),
    "2026-07-28": ((REQUIRED,), 41, 169),
}
"""Per revision how the suite is called, and what our server gets bare: scenarios without a failed check, checks passed.
The suite has requirements, and so a score, for the last two revisions alone."""
MAY_FAIL = "server-tasks-"
"""No server on this SDK has the tasks extension; the suite scores none of it."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The same server twice: its own door, and the gateway's with the token added."""

    bare: str
    through: str
    gateway: Gateway


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("conformance")
    issuer.write(folder / "jwks.json")
    listen, door = free_port(), free_port()
    with Everything() as server:
        config = open_settings(server.url, issuer, listen=listen, admin=free_port(), hosts=[f"localhost:{door}"])
        with Gateway(folder, config) as gateway, Shim(gateway.address, issuer.token, port=door):
            yield Doors(
                bare=f"http://localhost:{server.port}/mcp",
                through=f"http://localhost:{door}/mcp/notes",
                gateway=gateway,
            )


@pytest.mark.parametrize("revision", list(RUNS))
def test_the_suite_sees_no_gateway(doors: Doors, revision: str, node: str, tmp_path: Path) -> None:
    words, sound, passed = RUNS[revision]
    bare = suite.run(node, ["server", "--url", doors.bare, *words, revision], tmp_path / "bare")
    assert bare.code == 0, bare.told
    assert (bare.without_failure(), bare.count("SUCCESS")) == (sound, passed), bare.told
    assert all(name.startswith(MAY_FAIL) for name in bare.failing()), bare.told

    through = suite.run(node, ["server", "--url", doors.through, *words, revision], tmp_path / "through")
    found = suite.differences(bare, through, suite.complaints(tmp_path / "through"))
    assert not found, f"{len(found)} checks differ through the gateway:\n" + "\n".join(found)
