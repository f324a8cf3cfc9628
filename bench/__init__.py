"""Measures the gateway beside nginx and Envoy on one machine, in one run. See README.md in this folder."""
