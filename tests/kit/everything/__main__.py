"""`python -m tests.kit.everything --port N`."""

from __future__ import annotations

import argparse
import json
import warnings

import uvicorn
from mcp.shared.exceptions import MCPDeprecationWarning


def main() -> None:
    """Serve until ended."""
    words = argparse.ArgumentParser(prog="python -m tests.kit.everything")
    words.add_argument("--port", type=int, required=True)
    given = words.parse_args()
    # Logging, sampling and roots are deprecated, and here to be tested.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    from .server import build_app

    print(json.dumps({"ready": given.port}), flush=True)
    uvicorn.run(build_app(), host="127.0.0.1", port=given.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
