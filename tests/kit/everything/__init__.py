"""An MCP server with one of everything, on the official Python SDK, both eras on one URL.

It has every fixture that the conformance suite asks a server for (`facts`: tools `test_*`, resources `test://*`), and a
few tools of our own for the tours. `python -m tests.kit.everything --port N` serves it.
"""
