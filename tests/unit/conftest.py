"""The control side that tests of sign-in and tokens speak with, and what alice has there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.control import ControlSide, office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def side(tmp_path: Path) -> Iterator[ControlSide]:
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def alice(side: ControlSide) -> dict[str, str]:
    """The cookies of her browser."""
    return side.staff("alice")


@pytest.fixture
def said(side: ControlSide) -> dict[str, Any]:
    """The answer with the first tokens of client `ide` for alice."""
    return side.tokens("ide", side.staff("alice"))
