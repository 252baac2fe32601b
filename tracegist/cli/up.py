"""`tracegist up`: the whole stack in the foreground."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import typer

from config.logging import configure_logging
from config.settings import SettingsError, load_settings
from tracegist.launcher import LaunchError, Stack

READY_S = 120.0


class Until:
    """True once a signal to stop has come."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of the embedded services.")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo/--no-demo", help="Seed example traces and summarize one.")
    ] = True,
    once: Annotated[bool, typer.Option("--once", help="End after the demo.")] = False,
) -> None:
    """Start Valkey, migrations, workers, beat and the API; Ctrl-C stops them in reverse."""
    try:
        settings = load_settings() if data_dir is None else load_settings(data_dir=data_dir)
        configure_logging(level=settings.log_level, form=settings.log_format)
        stack = Stack(settings, host=host, port=port)
    except (SettingsError, LaunchError) as error:
        raise _ended(str(error)) from None
    until = Until()
    try:
        code = _run(stack, until, demo=demo, once=once)
    except LaunchError as error:
        raise _ended(str(error)) from None
    finally:
        stack.stop()
    raise typer.Exit(code)


def _run(stack: Stack, until: Until, *, demo: bool, once: bool) -> int:
    began = time.monotonic()
    key = stack.start(stopped=until)
    # What listens on all addresses is called on the loopback one.
    host = "127.0.0.1" if stack.host in ("0.0.0.0", "::") else stack.host  # noqa: S104
    address = f"http://{f'[{host}]' if ':' in host else host}:{stack.port}"
    ready = _Ready(f"{address}/_ready", until)
    stack.watch(each=ready)
    if ready.reached:
        print(f"Tracegist is ready after {time.monotonic() - began:.1f} s: {address}")
        print(f"  API docs      {address}/docs")
        print(f"  API document  {address}/openapi.json")
        print(f"  readiness     {address}/_ready")
    if key is not None:  # also after a start that was broken off: the next one has none to show
        print(f"  first key     {key}   (shown only now)", flush=True)
    if not ready.reached:
        return 0 if until.asked else 1
    if demo:
        from tracegist.demo import run_demo

        shown = run_demo(stack.settings, address)
        if once:
            return 0 if shown else 1
    print("Ctrl-C stops it.", flush=True)
    stack.watch(each=until)
    print("Stopping ...", flush=True)
    return 0


class _Ready:
    """Asks the stack whether it is ready, until it is, the patience ends, or somebody stops it."""

    def __init__(self, address: str, until: Callable[[], bool]) -> None:
        self._address = address
        self._until = until
        self._opener = build_opener(ProxyHandler({}))  # this machine is never behind a proxy
        self._deadline = time.monotonic() + READY_S
        self.reached = False

    def __call__(self) -> bool:
        try:
            with self._opener.open(self._address, timeout=2) as answer:
                self.reached = answer.status == 200
        except (URLError, OSError):
            self.reached = False
        if not self.reached and time.monotonic() > self._deadline:
            print("The stack did not get ready in time; the log above says why.", flush=True)
            return True
        return self.reached or self._until()


def _ended(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(1)
