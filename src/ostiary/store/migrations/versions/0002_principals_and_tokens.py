"""Sign-in, clients and what they were granted, the registry, revocations, stored credentials."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    _people()
    _clients()
    _registry()


def _people() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("person", sa.String),
        sa.Column("email", sa.String),
        sa.Column("name", sa.String),
        sa.Column("groups", sa.Text),
        sa.Column("groups_error", sa.String),
        sa.Column("claims", sa.Text, nullable=False),
        sa.Column("refresh", sa.LargeBinary),
        sa.Column("signed_in_at", sa.Integer, nullable=False),
        sa.Column("checked_at", sa.Integer, nullable=False),
        sa.Column("ended_at", sa.Integer),
        sa.UniqueConstraint("provider", "subject"),
    )
    op.create_table(
        "people_marks",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("confirmed_at", sa.Integer),
        sa.Column("disabled_at", sa.Integer),
        sa.Column("why", sa.String),
    )
    op.create_table(
        "browser_sessions",
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column("account", sa.String, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
        sa.Column("id_token", sa.LargeBinary),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "flows",
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column("browser", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("nonce", sa.String, nullable=False),
        sa.Column("verifier", sa.LargeBinary, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_index("flows_browser", "flows", ["browser", "expires_at"])
    op.create_index("flows_expires_at", "flows", ["expires_at"])


def _clients() -> None:
    op.create_table(
        "clients",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("secret", sa.String),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer),
        sa.Column("used_at", sa.Integer),
    )
    op.create_table(
        "consents",
        sa.Column("client", sa.String, primary_key=True),
        sa.Column("account", sa.String, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("agent", sa.String, nullable=False),
        sa.Column("client_name", sa.String, nullable=False),
        sa.Column("third_party", sa.String, nullable=False),
        sa.Column("redirect_host", sa.String, nullable=False),
        sa.Column("classes", sa.Text, nullable=False),
        sa.Column("servers", sa.Text, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "families",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("account", sa.String, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
        sa.Column("agent", sa.String, nullable=False),
        sa.Column("third_party", sa.String),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("servers", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
        sa.Column("used_at", sa.Integer),
        sa.Column("ended_at", sa.Integer),
        sa.Column("why", sa.String),
    )
    op.create_table(
        "grants",
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("family", sa.String, sa.ForeignKey("families.id", ondelete="CASCADE"), nullable=False),
        sa.Column("binding", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
        sa.Column("used_at", sa.Integer),
    )
    op.create_index("grants_family", "grants", ["family"])


def _registry() -> None:
    op.create_table(
        "registered",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("section", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "agent_marks",
        sa.Column("agent", sa.String, primary_key=True),
        sa.Column("suspended_at", sa.Integer, nullable=False),
        sa.Column("why", sa.String),
    )
    op.create_table(
        "owners",
        sa.Column("agent", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("person", sa.String),
    )
    op.create_table(
        "uses",
        sa.Column("principal", sa.String, primary_key=True),
        sa.Column("token_at", sa.Integer),
        sa.Column("request_at", sa.Integer),
    )
    op.create_table(
        "epochs",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("reason", sa.String),
        sa.UniqueConstraint("kind", "value"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "credentials",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("rotated_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "assertions",
        sa.Column("issuer", sa.String, primary_key=True),
        sa.Column("jti", sa.String, primary_key=True),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_index("assertions_expiry", "assertions", ["expires_at"])
    op.create_table(
        "documents",
        sa.Column("url", sa.String, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("fetched_at", sa.Integer, nullable=False),
    )
