"""A model provider for tests and benchmarks over real HTTP: completions, responses, files and batches.

Use `LLMServer` in a test, or run `python -m tests.fakes.llm_server --port 9000` and steer it over HTTP:

- `POST /_control/script` `{"steps": [{"behaviour": "503", "count": 2}]}` plays faults, in order; good
  answers follow. A step may add `match` (only for prompts with this text), `retry_after`, `retry_after_ms`,
  `should_retry`, `headers`, `latency_ms`, `content` (the text of a good answer), and `missed_polls` (looks
  at an answer in the background that are met with a 503). `failed` is for these, too: it is given up.
- `POST /_control/config` `{"latency_ms": 400, "rpm": 600, ...}`: see `Config`.
- `GET /_control/stats`, `POST /_control/reset`.

It is a bare asyncio protocol because a benchmark must not measure the stand-in.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, cast

import httptools
import orjson
import uvloop

from tests.fakes.llm_batches import BatchDesk
from tests.fakes.llm_replies import ERRORS, Reply, completion, error_reply
from tests.fakes.llm_responses import ResponseDesk

RATE_WINDOW_S = 60.0

HANGS = {"timeout", "hang"}
ALIASES = {"404": "404_model", "context_length_exceeded": "context_length", "no_json": "not_json"}


@dataclass
class Config:
    """`rpm` answers 429 past so many requests in any 60 s (`rate_window_s`); `tpm` likewise, in tokens.

    `context_tokens` is the window: a longer prompt is answered `context_length_exceeded`. A batch takes
    `batch_delay_ms`; with `batch_create` `lost` one is made and the answer is 500, other names are errors.
    """

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    rpm: int = 0
    tpm: int = 0
    rate_window_s: float = RATE_WINDOW_S
    rate_headers: bool = False
    context_tokens: int = 0
    max_inflight: int = 0
    keep_prompts: int = 0
    behaviour: str = "ok"
    batch_delay_ms: float = 0.0
    batch_create: str = "ok"


@dataclass
class Stats:
    """`requests` counts chat requests; `paid` those that were answered with 200, whatever that contained.

    `watched` counts answers in the background that somebody has looked at, `stopped` those that were told to
    end; `batches` counts batches that were made, `batch_rows` rows of theirs that were answered.
    """

    requests: int = 0
    paid: int = 0
    watched: int = 0
    stopped: int = 0
    batches: int = 0
    batch_rows: int = 0
    inflight: int = 0
    max_inflight: int = 0
    rate_limited: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    behaviours: dict[str, int] = field(default_factory=dict)
    prompts: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


class LLMServer:
    """`async with LLMServer() as server:` listens on a free port of the loopback interface."""

    def __init__(self, *, port: int = 0, config: Config | None = None) -> None:
        self.port = port
        self.config = config or Config()
        self.stats = Stats()
        self.arrival = asyncio.Event()
        self.script: deque[dict[str, Any]] = deque()
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._window: deque[tuple[float, int]] = deque()
        self._desk = BatchDesk(self._row)
        self._responses = ResponseDesk()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.connections):
            connection.drop()
        await asyncio.sleep(0)

    def play(self, behaviour: str, count: int = 1, **options: Any) -> None:
        self.script.append({"behaviour": behaviour, "count": count, **options})

    def configure(self, **values: Any) -> None:
        known = {item.name for item in fields(Config)}
        if unknown := set(values) - known:
            raise ValueError(f"unknown settings: {sorted(unknown)}")
        for name, value in values.items():
            setattr(self.config, name, value)

    def reset(self) -> None:
        self.config, self.script = Config(), deque()
        self._responses = ResponseDesk()
        self._window.clear()
        self.arrival.clear()
        self.stats = Stats(inflight=self.stats.inflight)

    def next_step(self, prompt: str) -> dict[str, Any]:
        for step in self.script:
            if step.get("match", "") in prompt:
                step["count"] = step.get("count", 1) - 1
                if step["count"] <= 0:
                    self.script.remove(step)
                return step
        return {"behaviour": self.config.behaviour}

    async def chat(self, connection: _Connection, raw: bytes) -> Reply | None:
        self._arrived()
        try:
            body = orjson.loads(raw)
            prompt = self._prompt(body)
            if (limited := self._over_rate(len(prompt) // 4)) is not None:
                return limited
            step = self.next_step(prompt)
            await asyncio.sleep(self._latency_s(step))
            return await self._played(connection, step, body, prompt)
        finally:
            self._left()

    async def respond(self, connection: _Connection, method: str, path: str, raw: bytes) -> Reply | None:
        """Responses in the background. One is made like a chat answer, and ready when the latency is over."""
        if (method, path.rpartition("/")[2]) != ("POST", "responses"):
            found = self._responses.answer(method, path)
            self.stats.watched, self.stats.stopped = len(self._responses.watched), self._responses.stopped
            return Reply(*found)
        body = orjson.loads(raw)
        prompt = self._prompt(body)
        self._arrived()
        limited, step = self._over_rate(len(prompt) // 4), {}
        if limited is None:
            step = self.next_step(prompt)
        reply = limited or await self._played(connection, step, body, prompt)
        if reply is None or reply.status != 200 or reply.cut or not reply.body.endswith(b"}"):
            self._left()
            return reply
        delay_s = self._latency_s(step)
        asyncio.get_running_loop().call_later(delay_s, self._left)
        made = self._responses.make(
            reply.body,
            delay_s=delay_s,
            missed_polls=step.get("missed_polls", 0),
            failed=step["behaviour"] == "failed",
        )
        return Reply(200, made, reply.headers)

    def _arrived(self) -> None:
        stats = self.stats
        stats.requests += 1
        self.arrival.set()
        stats.inflight += 1
        stats.max_inflight = max(stats.max_inflight, stats.inflight)

    def _left(self) -> None:
        self.stats.inflight -= 1

    def _prompt(self, body: dict[str, Any]) -> str:
        if self.config.keep_prompts and len(self.stats.prompts) < self.config.keep_prompts:
            self.stats.prompts.append(body)
        messages = body.get("messages") or body.get("input") or ()
        return "\n".join(str(message.get("content", "")) for message in messages)

    def _latency_s(self, step: Mapping[str, Any]) -> float:
        return float(step.get("latency_ms", self.config.latency_ms)) / 1000

    async def _played(
        self, connection: _Connection, step: dict[str, Any], body: dict[str, Any], prompt: str
    ) -> Reply | None:
        behaviour = ALIASES.get(str(step["behaviour"]), str(step["behaviour"]))
        self.stats.behaviours[behaviour] = self.stats.behaviours.get(behaviour, 0) + 1
        if behaviour in HANGS:
            await connection.closed.wait()
            return None
        if behaviour in ("reset", "close"):
            connection.drop(hard=behaviour == "reset")
            return None
        if self.config.context_tokens and len(prompt) // 4 > self.config.context_tokens:
            behaviour = "context_length"
        reply = self._reply(behaviour, step, body, prompt)
        if reply.status == 200 and not reply.cut:
            self.stats.paid += 1
        return reply

    def batch(self, method: str, path: str, raw: bytes) -> Reply | None:
        """Files and batches; None when the path is neither."""
        making = (method, path.rpartition("/")[2]) == ("POST", "batches")
        told = self.config.batch_create
        if making and told not in ("ok", "lost"):
            return error_reply(told, {})
        self._desk.delay_s = self.config.batch_delay_ms / 1000
        found = self._desk.answer(method, path, raw)
        if found is None:
            return None
        if making:
            self.stats.batches += 1
            if told == "lost":
                return error_reply("500", {})
        return Reply(*found)

    def _row(self, body: dict[str, Any]) -> Reply | None:
        """The answer to a row of a batch; None when it expires."""
        prompt = "\n".join(str(message.get("content", "")) for message in body.get("messages", ()))
        step = self.next_step(prompt)
        behaviour = ALIASES.get(str(step["behaviour"]), str(step["behaviour"]))
        if behaviour == "expired":
            return None
        reply = self._reply(behaviour, step, body, prompt)
        self.stats.batch_rows += reply.status == 200
        return reply

    def _over_rate(self, tokens: int) -> Reply | None:
        config = self.config
        if not (config.rpm or config.tpm or config.max_inflight):
            return None
        now = time.monotonic()
        while self._window and self._window[0][0] <= now - config.rate_window_s:
            self._window.popleft()
        used = sum(size for _, size in self._window) if config.tpm else 0
        share = config.rate_window_s / 60
        over = (
            (config.rpm and len(self._window) >= config.rpm * share)
            or (config.tpm and used + tokens > config.tpm * share)
            or (config.max_inflight and self.stats.inflight > config.max_inflight)
        )
        if not over:
            self._window.append((now, tokens))
            self.stats.times.append(now)
            return None
        self.stats.rate_limited += 1
        oldest = self._window[0][0] if self._window else now
        wait = max(0.001, oldest + config.rate_window_s - now)
        return error_reply("429", {"retry_after": f"{wait:.3f}"})

    def _rate_headers(self) -> dict[str, str]:
        if not (self.config.rate_headers and self.config.rpm):
            return {}
        allowed = int(self.config.rpm * self.config.rate_window_s / 60)
        oldest = self._window[0][0] if self._window else time.monotonic()
        reset = max(0.0, oldest + self.config.rate_window_s - time.monotonic())
        return {
            "x-ratelimit-limit-requests": str(self.config.rpm),
            "x-ratelimit-remaining-requests": str(max(0, allowed - len(self._window))),
            "x-ratelimit-reset-requests": f"{reset:.3f}s",
        }

    def _reply(self, behaviour: str, step: dict[str, Any], body: dict[str, Any], prompt: str) -> Reply:
        if behaviour in ERRORS:
            return error_reply(behaviour, step)
        if behaviour == "html":
            return Reply(200, b"<html><body>Welcome</body></html>", content_type="text/html")
        if behaviour == "not_json":
            return Reply(200, b'{"id": "chatcmpl-1", "choices": [')
        raw, usage = completion(behaviour, body, prompt, step.get("content"))
        self.stats.prompt_tokens += usage["prompt_tokens"]
        self.stats.completion_tokens += usage["completion_tokens"]
        headers = {
            "x-request-id": f"req-{self.stats.requests}",
            **self._rate_headers(),
            **step.get("headers", {}),
        }
        return Reply(200, raw, headers, cut=behaviour == "cut")

    async def control(self, method: str, path: str, raw: bytes) -> Reply:
        try:
            told = orjson.loads(raw) if raw else {}
            if path == "/_control/script":
                self.script.extend(told["steps"] if isinstance(told, dict) else told)
            elif path == "/_control/config":
                self.configure(**told)
            elif path == "/_control/reset" and method == "POST":
                self.reset()
            elif path != "/_control/stats":
                return Reply(404, b'{"detail": "no such control"}')
        except (ValueError, KeyError, TypeError) as error:
            return Reply(400, orjson.dumps({"detail": str(error)}))
        return Reply(200, orjson.dumps({**asdict(self.stats), "scripted": len(self.script)}))


class _Connection(asyncio.Protocol):
    """One keep-alive connection: one request at a time, as HTTP/1.1 clients send them."""

    def __init__(self, server: LLMServer) -> None:
        self.server = server
        self.closed = asyncio.Event()
        self.transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        self._url, self._body = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        task = asyncio.ensure_future(self._serve(method, self._url.decode(), b"".join(self._body)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, method: str, path: str, raw: bytes) -> None:
        reply = await self._route(method, path.partition("?")[0], raw)
        if reply is None or self.transport.is_closing():
            return
        self.transport.write(reply.wire())
        if reply.cut:
            self.transport.close()

    async def _route(self, method: str, path: str, raw: bytes) -> Reply | None:
        if path.endswith("/chat/completions"):
            return await self.server.chat(self, raw)
        if "/responses" in path:
            return await self.server.respond(self, method, path, raw)
        if path.endswith("/models"):
            return Reply(200, b'{"object": "list", "data": [{"id": "fake", "object": "model"}]}')
        if path.startswith("/_control/"):
            return await self.server.control(method, path, raw)
        if (reply := self.server.batch(method, path, raw)) is not None:
            return reply
        return Reply(404, b'{"error": {"message": "no such path", "type": "invalid_request_error"}}')

    def drop(self, *, hard: bool = False) -> None:
        if hard:
            self.transport.abort()
        else:
            self.transport.close()
        self.closed.set()


async def serve(port: int) -> None:
    async with LLMServer(port=port) as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for a model provider.")
    parser.add_argument("--port", type=int, default=9000)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
