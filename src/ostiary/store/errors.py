"""What can go wrong with the store."""

from ostiary.errors import OperationError


class StoreError(OperationError):
    """The store cannot be used."""


class StoreInUseError(StoreError):
    """Another process holds the store's lock."""


class SealingKeyError(StoreError):
    """The sealing key is missing, malformed, or not the one that this store was made with."""
