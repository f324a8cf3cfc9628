"""The tables, as the newest migration leaves them (a test holds the two together)."""

from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

#: Our signing keys. `sealed` is the private part, and null once the key has retired: it can never sign again.
#: Public parts stay for ever, since old checkpoints are verified with them. Times are seconds since the epoch.
keys = Table(
    "keys",
    metadata,
    Column("kid", String, primary_key=True),
    Column("public", Text, nullable=False),
    Column("sealed", LargeBinary),
    Column("created_at", Integer, nullable=False),
    Column("retired_at", Integer),
)

#: Every snapshot that was ever in force, by the SHA-256 of its bytes: what replaying a record needs.
snapshots = Table(
    "snapshots",
    metadata,
    Column("digest", String, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("first_used_at", Integer, nullable=False),
)

#: Single values: the lockdown, and the text that proves the sealing key.
settings = Table(
    "settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("changed_at", Integer, nullable=False),
)
