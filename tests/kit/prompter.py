"""Run by the conformance suite, on the standard library alone: `prompter.py PORT URL` asks the stage to play."""

import json
import os
import socket
import sys


def main() -> int:
    """Tell the stage what the suite wants, and give back how it went."""
    env = {name: value for name, value in os.environ.items() if name.startswith("MCP_CONFORMANCE_")}
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as stage, stage.makefile("rw") as lines:
        lines.write(json.dumps({"url": sys.argv[-1], "env": env}) + "\n")
        lines.flush()
        told = json.loads(lines.readline())
    sys.stderr.write(told["said"])
    return int(told["code"])


if __name__ == "__main__":
    sys.exit(main())
