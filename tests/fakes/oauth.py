"""An OAuth provider in the manner of Slack: refusals have status 200 and `"ok": false`."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tests.fakes.http_service import HttpService, Received, Reply

CLIENT_ID = "client-id"
CLIENT_SECRET = "client-secret-canary"


class FakeOAuth(HttpService):
    """`grants`: code -> answer, each good for one exchange. `lives`: refresh token -> answer, for ever.

    `challenges`: code -> the S256 challenge that its exchange has to answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.grants: dict[str, dict[str, Any]] = {}
        self.lives: dict[str, dict[str, Any]] = {}
        self.challenges: dict[str, str] = {}
        self.identities: dict[str, Any] = {}

    def reply_to(self, request: Received) -> Reply:
        if request.path.endswith("/oauth.v2.access"):
            return Reply(200, self._token(request.form))
        if request.path.endswith("/auth.revoke"):
            return Reply(200, {"ok": True, "revoked": True})
        if request.path in self.identities:
            return Reply(200, self.identities[request.path])
        return Reply(404, {"error": "not_found"})

    def _token(self, form: dict[str, str]) -> dict[str, Any]:
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return {"ok": False, "error": "invalid_client"}
        if form.get("grant_type") == "refresh_token":
            return self.lives.get(form.get("refresh_token", ""), {"ok": False, "error": "invalid_grant"})
        code = form.get("code", "")
        challenge = self.challenges.get(code)
        if challenge is not None and challenge != _challenge(form.get("code_verifier", "")):
            return {"ok": False, "error": "bad_verifier"}
        refusal = {"ok": False, "error": "invalid_code", "error_description": f"code {code} is spent"}
        return self.grants.pop(code, refusal)


def slack_grant(*, team: str, token: str, **more: object) -> dict[str, Any]:
    return {
        "ok": True,
        "access_token": token,
        "token_type": "bot",
        "scope": "channels:read,chat:write",
        "bot_user_id": "U1",
        "app_id": "A1",
        "team": {"id": team, "name": f"Team {team}"},
        "authed_user": {"id": "U2", "access_token": f"{token}-of-user"},
        **more,
    }


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
