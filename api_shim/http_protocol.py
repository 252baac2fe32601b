"""The HTTP/1.1 of the shim: uvicorn's, but what never becomes a request gets the common error body, too.

Methods that the parser does not know reach the routes, which say what they take instead. The head of a
request is bounded.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jobs.errors import InvalidRequest
from jobs.json_text import dump_json

MAX_HEAD_BYTES: Final = 65_536

_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_FOREIGN: Final = b"UNLINK"  # one that the parser knows and no route takes
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}(?= )")


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(_with_known_method(data) if self._between_requests() else data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        body = dump_json(InvalidRequest(msg).body())
        head = (
            "HTTP/1.1 400 Bad Request",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"X-Request-Id: {uuid.uuid4().hex}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        self.transport.write("\r\n".join((*head, "", "")).encode() + body)
        self.transport.close()

    def _between_requests(self) -> bool:
        """Whether the next byte is the first of a request."""
        last = self.cycle
        return not self._in_head and (last is None or (last.response_complete and not last.more_body))


def _with_known_method(data: bytes) -> bytes:
    found = _METHOD.match(data)
    return data if found is None or found[0] in _METHODS else _FOREIGN + data[found.end() :]
