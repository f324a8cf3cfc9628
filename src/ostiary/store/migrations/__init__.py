"""Alembic's folder: each change of the tables is one file in `versions`, and is never edited after a release."""
