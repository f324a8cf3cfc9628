"""Tokens of our own: what may be issued, and to whom."""
