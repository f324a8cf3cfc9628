"""Client programs that go from the first 401 to a tool call, unmodified, and the browser in which people sign in.

Every program is a `Flow` (`flow.py`), so that one test can be run with each of them.
"""
