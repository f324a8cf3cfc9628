"""How many examples a property is tried with, and which.

The same ones in every run, so that what a run says of a commit it says again. `make search` looks further: `N` times as
many, and others each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FURTHER = int(os.environ.get("OSTIARY_SEARCH", "0"))
TIMES = FURTHER or 1


def examples(count: int) -> settings:
    """Return the settings of a property; requests over sockets take what time they take, and scenes may be shared."""
    return settings(
        max_examples=count * TIMES,
        derandomize=not FURTHER,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
