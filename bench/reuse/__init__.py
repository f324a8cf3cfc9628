"""Many clients that use the same JSON-RPC ids at the same time: is an answer ever given to the wrong one?"""
