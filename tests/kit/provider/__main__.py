"""The provider's process: `python -m tests.kit.provider FD ORIGIN`, on a socket that listens already."""

import os
import socket
import sys
import threading

import uvicorn

from tests.kit.provider.app import make_app


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    config = uvicorn.Config(make_app(sys.argv[2]), log_level="error", lifespan="off", ws="none")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
