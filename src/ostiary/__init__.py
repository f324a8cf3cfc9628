"""Ostiary: the doorkeeper between AI agents and an organisation's tools."""
