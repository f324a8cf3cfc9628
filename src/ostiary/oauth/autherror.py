"""The refusal of a client, or of a grant that it shows, in the words of RFC 6749 section 5.2."""

from __future__ import annotations

from ostiary.errors import OperationError


class ClientAuthError(OperationError):
    """Who asks has not proven who it is. `error` is the code, and `status` that of the answer."""

    def __init__(self, error: str, description: str, status: int = 401) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
