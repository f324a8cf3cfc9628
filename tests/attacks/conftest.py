"""The scene of the attacks on signing in: one for each worker. Whatever ends something ends what it made itself."""

from collections.abc import Iterator

import pytest
from tests.kit.estate import Estate


@pytest.fixture(scope="session")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with Estate(tmp_path_factory.mktemp("estate")) as made:
        yield made
