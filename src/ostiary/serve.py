"""The main task of `ostiary run`: sockets, signals, the watch over the files, and an orderly end.

One process, one task group. SIGTERM and SIGINT drain and end with success, SIGHUP reads the files again at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from ostiary.admin import acts_app, bind_tcp, health_app, make_server
from ostiary.adminsocket import bind_unix
from ostiary.identity import refresher
from ostiary.oauth.app import control_app
from ostiary.runtime import Runtime
from ostiary.watch import Watcher, take_stamps

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from pathlib import Path

log = structlog.get_logger()

TICK_S: Final = 30.0
#: How often the data plane is told what the store knows of revocations.
WORD_S: Final = 1.0
#: Sign-ins wait for providers, so there are more threads than cores.
THREADS: Final = 64
EVENTS_S: Final = 0.25


def configure_log(file: TextIO | None = None) -> None:
    """Log to `file`, standard error by default: one readable line each, in colour on a terminal.

    A `block` of an event is a list of further lines, set below it. A traceback shows no local variables: in them are
    tokens, cookies and codes.
    """
    target = sys.stderr if file is None else file
    line = structlog.dev.ConsoleRenderer(
        colors=target.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
    )

    def render(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        block = event.pop("block", ())
        return "\n    ".join([str(line(logger, name, event)), *block])

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
            render,
        ],
        logger_factory=structlog.PrintLoggerFactory(file=target),
    )


async def serve(path: Path, *, ready: asyncio.Event | None = None, stopping: asyncio.Event | None = None) -> None:
    """Run the gateway of the file at `path` until asked to stop; raises `OstiaryError` if it cannot start.

    `ready` is set once everything answers. Setting `stopping` has the effect of SIGTERM.
    """
    stopping = stopping or asyncio.Event()
    reload_now = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="control"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reload_now.set)
    runtime = await asyncio.to_thread(Runtime.start, path)
    try:
        with bind_tcp(runtime.config.admin.listen) as tcp, bind_unix(runtime.socket) as unix:
            health, acts = make_server(health_app(runtime), unix=False), make_server(acts_app(runtime), unix=True)
            control = make_server(control_app(runtime), unix=True)
            watcher = Watcher(runtime.stamps)
            async with asyncio.TaskGroup() as group:
                group.create_task(health.serve(sockets=[tcp]))
                group.create_task(acts.serve(sockets=[unix]))
                group.create_task(control.serve(sockets=[runtime.control_socket]))
                others = [
                    group.create_task(watcher.run()),
                    group.create_task(_follow_files(runtime, watcher, reload_now)),
                    group.create_task(_tell_events(runtime)),
                    group.create_task(_tick(runtime)),
                    group.create_task(_refresh(runtime)),
                    group.create_task(_word(runtime)),
                    group.create_task(_ends(runtime)),
                ]
                if ready is not None:
                    ready.set()
                await stopping.wait()
                log.info("stopping: calls in flight may finish")
                # Health and acts answer while the calls finish: /readyz says that nothing new should come here.
                await asyncio.to_thread(runtime.drain)
                for task in others:
                    task.cancel()
                health.should_exit = acts.should_exit = control.should_exit = True
        runtime.socket.unlink(missing_ok=True)
    finally:
        await asyncio.to_thread(runtime.close)


async def _follow_files(runtime: Runtime, watcher: Watcher, reload_now: asyncio.Event) -> None:
    """Put changed files in force once they are at rest, or at once on SIGHUP."""
    while True:
        cause = await _next_cause(watcher, reload_now)
        stamps = take_stamps(watcher.paths)
        with _surviving(runtime, "reading the files again"):
            stamps = await asyncio.to_thread(runtime.reload, cause)
        watcher.accept(stamps)


@contextlib.contextmanager
def _surviving(runtime: Runtime, what: str) -> Iterator[None]:
    """Log and count a fault of our own: whatever is in force goes on. A panic in Rust is no `Exception`."""
    try:
        yield
    except (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:
        runtime.faults += 1
        log.exception(f"a fault of our own in {what}; what was in force stays")


async def _next_cause(watcher: Watcher, reload_now: asyncio.Event) -> str:
    waits = [asyncio.create_task(watcher.changed()), asyncio.create_task(reload_now.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if reload_now.is_set():
        reload_now.clear()
        return "SIGHUP"
    return "changed files"


async def _tell_events(runtime: Runtime) -> None:
    """Log what the data plane reports, and look for the keys that tokens name and it does not have."""
    while True:
        for text in await asyncio.to_thread(runtime.gateway.events, EVENTS_S):
            with _surviving(runtime, "telling an event"):
                event: dict[str, Any] = json.loads(text)
                kind = event.pop("kind")
                if kind == "unknown_key":
                    await asyncio.to_thread(runtime.look_for_keys, event["detail"])
                else:
                    log.error(kind, **event)


async def _tick(runtime: Runtime) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        with _surviving(runtime, "the regular check"):
            await asyncio.to_thread(runtime.tick)


async def _ends(runtime: Runtime) -> None:
    """Let leases and agents end when they do."""
    while True:
        await asyncio.sleep(WORD_S)
        with _surviving(runtime, "ending what is over"):
            await asyncio.to_thread(runtime.end_what_is_over)


async def _refresh(runtime: Runtime) -> None:
    """Ask the providers of people who are signed in whether they are still there."""
    loop = asyncio.get_running_loop()
    due = loop.time() + TICK_S
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        due = loop.time() + TICK_S
        with _surviving(runtime, "asking the providers"):
            await asyncio.to_thread(refresher.tick, runtime)


async def _word(runtime: Runtime) -> None:
    """Tell the data plane every second what the store knows: without word it refuses everything."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="word") as thread:
        while True:
            await asyncio.sleep(WORD_S)
            with _surviving(runtime, "reading revocations"):
                await loop.run_in_executor(thread, runtime.hear)
