"""The tour, word for word as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

from tests.kit.gateway import command, free_port
from tests.kit.wire import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_the_tour_shows_everything_and_leaves_nothing(tmp_path: Path) -> None:
    port = free_port()
    done = subprocess.run(
        [*command(), "demo", "--once", "--port", str(port)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    for part in (
        "agent:local:release-bot, owned by alice",
        "Ship it on Friday",
        "error 4030",
        "no-etc (ostiary.yaml:",
        "argument/path",
        "nothing: the server's own counter says 1 before and 1 after",
        "HTTP 401 from the server itself",
        "one unbroken chain",
    ):
        assert part in shown, shown
    assert "Connect a client" not in shown
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [*command(), "demo", "--once", "--port", str(port)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr


def test_it_serves_until_ctrl_c_and_its_commands_work_as_printed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with output.open("w") as file:
        process = subprocess.Popen(
            [*command(), "demo", "--port", str(free_port())],
            stdout=file,
            stderr=file,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
    try:
        wait_until(
            lambda: "Ctrl-C" in output.read_text() or process.poll() is not None, deadline_s=60, what="the tour's end"
        )
        shown = output.read_text()
        assert process.poll() is None, shown
        shell = re.search(r"TOKEN=.*?\}'", shown, re.DOTALL)
        assert shell is not None, shown
        said = subprocess.run(["bash", "-c", shell[0]], capture_output=True, text=True, timeout=30, check=True)
        assert '"hello"' in said.stdout, said
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    assert code in {0, 130}
    assert "Traceback" not in output.read_text()
    assert list(temporary.iterdir()) == []
