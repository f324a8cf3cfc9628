"""`ostiary demo`: the tour."""

from __future__ import annotations

from typing import Annotated

import typer

from ostiary.cli.output import out


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the tour.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The gateway's port on 127.0.0.1.")] = 8811,
) -> None:
    """Show it at work: a sample server, a gateway, a call that passes and one that does not. All on this machine.

    Everything happens in a fresh temporary folder with keys of its own.
    """
    import asyncio

    from ostiary.errors import OperationError

    try:
        from ostiary.demo.tour import run_demo
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ostiary":
            raise
        raise OperationError(f"the demo needs the package {error.name}", hint="pip install 'ostiary[demo]'") from error
    asyncio.run(run_demo(out(), port=port, once=once))
