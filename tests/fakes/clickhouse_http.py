"""ClickHouse's HTTP interface, as far as clickhouse-connect uses it, over chDB.

What the tests need of it is real: the client's requests, the engine's settings, formats, tokens and errors.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame

# What the HTTP interface itself takes; everything else in the address is a setting or a parameter.
OWN = {
    "query",
    "database",
    "query_id",
    "session_id",
    "wait_end_of_query",
    "client_protocol_version",
    "send_progress_in_http_headers",
    "http_headers_progress_interval_ms",
    "enable_http_compression",
    "cancel_http_readonly_queries_on_client_close",
}
FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*$", re.IGNORECASE)
INSERT = re.compile(rb"\AINSERT INTO (.+?) FORMAT Native\n", re.DOTALL)


class ClickHouseHttp(ThreadingHTTPServer):
    """`fail_with` makes every request fail so: (HTTP status, ClickHouse code or None, text)."""

    daemon_threads = True

    def __init__(self, connection_string: str, database: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connection_string = connection_string
        self.fail_with: tuple[int, int | None, str] | None = None
        self.database = database
        self.query("CREATE DATABASE IF NOT EXISTS " + database, "TabSeparated", {}, "default")

    @property
    def url(self) -> str:
        return f"clickhouse://127.0.0.1:{self.server_address[1]}/{self.database}"

    def query(self, sql: bytes | str, form: str, params: dict[str, str], database: str) -> bytes:
        # A connection for each request, as sessions are on a server.
        connection = chdb.connect(self.connection_string)
        try:
            connection.query(f"USE `{database}`", "TabSeparated")
            result: bytes = connection.query(sql, form, params=params).bytes()
            return result
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ClickHouseHttp

    def do_GET(self) -> None:
        self._answer(200, b"Ok.\n", {})

    def do_POST(self) -> None:
        body = self._body()
        if self.server.fail_with is not None:
            status, code, text = self.server.fail_with
            headers = {} if code is None else {"X-ClickHouse-Exception-Code": str(code)}
            self._answer(status, text.encode(), headers)
            return
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if self.headers.get_content_type() == "multipart/form-data":  # for long parameters
            given |= _form(self.headers["Content-Type"], body)
            body = b""
        try:
            result = self._run(given, body)
        except RuntimeError as error:
            found = re.search(r"Code: (\d+)", str(error))
            self._answer(
                500, str(error).encode(), {"X-ClickHouse-Exception-Code": found[1] if found else "1001"}
            )
            return
        self._answer(200, result, {"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Format": "Native"})

    def _run(self, given: dict[str, str], body: bytes) -> bytes:
        params = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
        settings = {name: value for name, value in given.items() if name not in OWN and name[:6] != "param_"}
        database = given.get("database", "default")
        if insert := INSERT.match(body):
            with tempfile.NamedTemporaryFile(suffix=".native") as file:
                file.write(body[insert.end() :])
                file.flush()
                head = insert[1].decode()
                sql = f"INSERT INTO {head} FROM INFILE '{file.name}'{_clause(settings)} FORMAT Native"
                return self.server.query(sql, "TabSeparated", params, database)
        text = b"\n".join(part for part in (given.get("query", "").encode(), body) if part)
        form = FORMAT.search(text)
        if form:
            text = text[: form.start()] + _clause(settings).encode() + b" " + form[0]
        return self.server.query(text, form[1].decode() if form else "TabSeparated", params, database)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "lz4":
            return bytes(lz4.frame.decompress(body))
        return body

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def _form(content_type: str, body: bytes) -> dict[str, str]:
    message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, str] = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload.decode()
    return fields


def _clause(settings: dict[str, str]) -> str:
    quoted = (
        name + " = '" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        for name, value in settings.items()
    )
    return "\nSETTINGS " + ", ".join(quoted) if settings else ""


@contextmanager
def serving(connection_string: str, database: str) -> Iterator[ClickHouseHttp]:
    server = ClickHouseHttp(connection_string, database)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
