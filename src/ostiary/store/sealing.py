"""The sealing key: what keeps private keys unreadable in a copied database.

AES-256-GCM with a random 96-bit nonce before each sealed text; the associated data binds it to its row, so that a
sealed text moved to another row does not open.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ostiary.store.errors import SealingKeyError

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
#: Of 32 random bytes at least so many differ, but three times in 10^17. A key with fewer is an example, or a word said
#: again and again.
MIN_DIFFERENT: Final = 16
#: Permissions that a key file must not have: of our own making, and one that was given, which the group may read, since
#: that is how Kubernetes hands a secret to a user that is not root.
OWN_FORBIDDEN: Final = 0o077
GIVEN_FORBIDDEN: Final = 0o027
MAKE_ONE: Final = "make one with: openssl rand -base64 32"


class SealingKey:
    """A 256-bit key that seals and opens. Its text never shows in `repr` or in an error."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SealingKeyError(f"the sealing key has {len(key)} bytes instead of {KEY_BYTES}", hint=MAKE_ONE)
        self._key = key

    def __repr__(self) -> str:
        return "SealingKey(***)"

    @classmethod
    def make(cls) -> Self:
        """Draw a new random key."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def from_text(cls, text: str, source: str) -> Self:
        """Read base64 (either alphabet, padded or not); `source` names where `text` was, for the error."""
        plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
        try:
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except binascii.Error:
            raise SealingKeyError(f"the sealing key in {source} is not base64", hint=MAKE_ONE) from None
        if len(key) != KEY_BYTES:
            raise SealingKeyError(
                f"the sealing key in {source} has {len(key)} bytes instead of {KEY_BYTES}", hint=MAKE_ONE
            )
        if len(set(key)) < MIN_DIFFERENT:
            raise SealingKeyError(f"the sealing key in {source} is not random", hint=MAKE_ONE)
        return cls(key)

    @classmethod
    def load(cls, reference: str, base: Path) -> Self:
        """Read the key behind `env:NAME` or `file:PATH` (relative to the folder `base`).

        Raises `SealingKeyError`, also if others may read the file.
        """
        kind, _, name = reference.partition(":")
        if kind == "env" and name:
            text = os.environ.get(name)
            if not text:
                raise SealingKeyError(f"the environment variable {name} (store.key) is not set", hint=MAKE_ONE)
            return cls.from_text(text, f"the environment variable {name}")
        if kind == "file" and name:
            path = base / name
            return cls.from_text(_read(path, GIVEN_FORBIDDEN), str(path))
        raise SealingKeyError("store.key must be env:NAME or file:PATH")

    @classmethod
    def load_or_make(cls, path: Path, *, may_make: bool) -> Self:
        """Read our own key file, or make it (0600) on the first start.

        `may_make` is false once something has been sealed: a fresh key could open none of it, so a missing file is
        an error then and nothing is written. Raises `SealingKeyError`, also if others may read the file.
        """
        if path.exists():
            return cls.from_text(_read(path, OWN_FORBIDDEN), str(path))
        if not may_make:
            raise SealingKeyError(
                f"the sealing key {path} is missing, and the store holds keys that were sealed with it",
                hint="put the file back from your backup, or set store.key; nothing has been changed",
            )
        made = cls.make()
        text = base64.b64encode(made._key) + b"\n"
        # A crash between create and write must not leave an empty key: write beside, sync, then link into place.
        draft = path.with_name(path.name + f".{os.getpid()}.new")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, text)
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            draft.rename(path)
        except OSError:
            draft.unlink()
            raise
        return made

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt `plain` for the place named by `context`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` made for the same `context`. Raises `SealingKeyError` if this is not the key."""
        try:
            return AESGCM(self._key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError):
            raise SealingKeyError(
                "the sealing key does not fit this store",
                hint="use the key that the store was made with (store.key); nothing has been changed",
            ) from None

    def derive(self, purpose: str) -> bytes:
        """Derive another 256-bit key for one purpose (HKDF-SHA256, RFC 5869), the same one at every start."""
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"ostiary " + purpose.encode()).derive(
            self._key
        )


def _read(path: Path, forbidden: int) -> str:
    """Return the text of a key file. Raises `SealingKeyError`, also if its mode has a bit that is `forbidden`."""
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & forbidden:
                raise SealingKeyError(
                    f"others may read the sealing key {path} (mode {mode:04o})", hint=f"chmod 600 {path}"
                )
            return file.read()
    except FileNotFoundError:
        raise SealingKeyError(f"the sealing key file {path} does not exist", hint=MAKE_ONE) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SealingKeyError(f"the sealing key file {path} cannot be read: {error}") from error
