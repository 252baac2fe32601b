"""Twilio, as far as it is asked: an account, and pages of its phone numbers."""

from __future__ import annotations

import base64
from typing import Any

from tests.fakes.http_service import HttpService, Received, Reply

REFUSAL = {"code": 20003, "message": "Authenticate", "status": 401}


class FakeTwilio(HttpService):
    """`accounts`: SID -> user names and passwords that may use it. No page is longer than `page_size`."""

    def __init__(self, *, page_size: int = 1000) -> None:
        super().__init__()
        self.accounts: dict[str, dict[str, str]] = {}
        self.names: dict[str, str] = {}
        self.numbers: dict[str, list[dict[str, Any]]] = {}
        self.page_size = page_size

    def add(self, sid: str, token: str, *, name: str = "Main", numbers: int = 0) -> None:
        self.accounts[sid] = {sid: token}
        self.names[sid] = name
        self.numbers[sid] = [number(place) for place in range(numbers)]

    def reply_to(self, request: Received) -> Reply:
        parts = request.path.strip("/").removesuffix(".json").split("/")
        if parts[:2] != ["2010-04-01", "Accounts"] or parts[2:3] not in [[sid] for sid in self.accounts]:
            return Reply(404, {"code": 20404, "status": 404})
        sid = parts[2]
        user, password = _basic(request.headers.get("authorization", ""))
        if self.accounts[sid].get(user) != password:
            return Reply(401, REFUSAL)
        if parts[3:] == ["IncomingPhoneNumbers"]:
            return Reply(200, self._page(sid, request))
        if user != sid:  # standard API keys may not look at the account itself
            return Reply(401, REFUSAL)
        return Reply(
            200, {"sid": sid, "friendly_name": self.names[sid], "auth_token": self.accounts[sid][sid]}
        )

    def _page(self, sid: str, request: Received) -> dict[str, Any]:
        page = int(request.query.get("Page", ["0"])[0])
        size = min(int(request.query.get("PageSize", ["50"])[0]), self.page_size)
        rows = self.numbers[sid]
        more = (page + 1) * size < len(rows)
        path = f"/2010-04-01/Accounts/{sid}/IncomingPhoneNumbers.json"
        return {
            "incoming_phone_numbers": rows[page * size : (page + 1) * size],
            "next_page_uri": f"{path}?PageSize={size}&Page={page + 1}" if more else None,
        }


def number(place: int) -> dict[str, Any]:
    return {
        "sid": f"PN{place:032x}",
        "phone_number": f"+1555{place:07d}",
        "friendly_name": f"Line {place}",
        "capabilities": {"voice": True},
    }


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme != "Basic":
        return "", ""
    user, _, password = base64.b64decode(encoded).decode().partition(":")
    return user, password
