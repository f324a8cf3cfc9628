"""`python -m ostiary` is the command `ostiary`."""

from ostiary.cli import app

app(prog_name="ostiary")
