"""`ostiary init`: writes a configuration to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ostiary.cli.output import JsonOption, print_json

FILE = "ostiary.yaml"

START = """\
# The configuration of an Ostiary gateway. Check it with `ostiary check`, start it with `ostiary run`.
# `ostiary schema` prints every key with what it means. Relative paths are relative to this file.

# The public door: where clients connect, and how they call it. Beyond this machine, add `tls: {cert: …, key: …}`.
gateway:
  listen: 127.0.0.1:8811
  url: http://127.0.0.1:8811
  allowed_hosts: ["localhost:8811"]

# Health and metrics, for operators only.
admin:
  listen: 127.0.0.1:8812

# Keys, sealed; made on the first start.
store:
  url: sqlite:///var/ostiary.db

# The record of every decision. by_class: what changes something is on disk before the call goes on.
audit:
  dir: var/audit
  durability: by_class

# People who answer for agents and servers. An agent without a live owner can do nothing; where there is a provider, an
# owner is live after signing in or `ostiary people confirm NAME`.
people:
  alice: {email: alice@example.com}

# Who is believed. People sign in at providers; register http://127.0.0.1:8811/oauth/callback there. Issuers are others
# whose tokens are accepted. Everything about them is pinned here; nothing is believed from the token.
# identity:
#   providers:
#     sso:
#       preset: generic
#       issuer: https://sso.example.com
#       client_id: ostiary
#       client_secret: env:OIDC_SECRET
#       claims: {groups: groups}
#       email_domains: [example.com]
#   issuers:
#     corp:
#       issuer: https://idp.example.com
#       jwks: {file: jwks.json}
#       algorithms: [RS256]
#       type: human
#       direct: true
#       claims: {email: email, groups: groups}
#       email_domains: [example.com]

# Programs that may call. The ceiling is the most that an agent can ever do, whatever the rules say.
agents:
  helper:
    owner: alice
    purpose: read my notes
    ceiling: {servers: [notes], classes: [read, query]}

# MCP servers behind the gateway, at http://127.0.0.1:8811/mcp/NAME.
servers:
  notes:
    url: http://127.0.0.1:9000/mcp
    owner: alice
    pins: off  # tool definitions are not held to reviewed ones
    tools:     # what each tool does: read, query, update or admin; one that is not listed counts as admin
      list_notes: {class: read}
      search: {class: query}
      delete_note: {class: admin}

# Who may do what. Nothing is allowed unless a rule allows it, and deny beats allow.
policy:
  - name: helper-reads
    allow:
      and:
        - agent: helper
        - server: notes
        - action: {in: [read, query]}
  - name: no-secrets
    deny:
      or:
        - argument/path: {starts_with: /etc}
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("init")(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write; made if absent.")] = Path(),
    *,
    as_json: JsonOption = False,
) -> None:
    """Write a commented configuration to begin with. A file that is there is never touched (exit code 1)."""
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(START)
    except FileExistsError:
        what = path if path.exists() or path.is_symlink() else folder
        typer.echo(f"{what} is there already, and nothing was written.", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"{path} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        print_json({"written": str(path)})
        return
    typer.echo(f"Wrote {path}. Put your own server in it, then:\n  ostiary check {path}\n  ostiary run --config {path}")
