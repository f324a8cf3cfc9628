"""Guides as programs: the configuration, the commands and the manifests of a page, put where a test can run them."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from .gateway import Gateway, command, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
UPSTREAM = "http://127.0.0.1:9000/mcp"
LISTEN, ADMIN = "127.0.0.1:8811", "127.0.0.1:8812"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language in a page, without the indentation of a list that they stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, text in found]


def documents(text: str) -> list[Any]:
    """The documents of a YAML text."""
    return list(YAML(typ="safe").load_all(text))


def replaced(text: str, words: Mapping[str, str]) -> str:
    """Put other words in place. Each must be there, so that a page cannot lose what a test stands on."""
    for word, other in words.items():
        assert word in text, f"`{word}` is not on the page"
        text = text.replace(word, other)
    return text


class GuideGateway(Gateway):
    """A gateway with the configuration of a page, at addresses that are free here.

    Every `gateway.url` of the page becomes that of this gateway, and its one upstream becomes `upstream`; `words` maps
    what else stands on the page to what there is here.
    """

    def __init__(
        self, folder: Path, text: str, upstream: str, words: Mapping[str, str], *, env: Mapping[str, str] | None = None
    ) -> None:
        (told,) = documents(text)
        self.told_url = told["gateway"]["url"]
        listen = f"127.0.0.1:{free_port()}"
        url = f"http://{listen}"
        self.text = replaced(text, {self.told_url: url, UPSTREAM: upstream, **words}).replace(LISTEN, listen)
        if "admin" not in told:
            self.text = f"admin: {{listen: {ADMIN}}}\n{self.text}"
        self.text = self.text.replace(ADMIN, f"127.0.0.1:{free_port()}")
        (config,) = documents(self.text)
        super().__init__(folder, config, env=env)
        self.save(self.text)

    def shell(self, lines: str, *, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run commands of the page in the gateway's folder, where `ostiary` is installed and `GATEWAY` is its URL."""
        path = f"{Path(command()[0]).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-euc", lines],
            cwd=self.folder,
            env={**self.env, "PATH": path, "GATEWAY": self.url, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{lines}\ngave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done
