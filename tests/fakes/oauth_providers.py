"""The other OAuth providers, each as it answers: tokens, whose they are, and their revocation.

One service plays all of them. The client id of a request to the token address tells which one is meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from config.providers import provider
from tests.fakes.http_service import HttpService, Received, Reply

ACCESS = "access-{kind}-0123456789abcdef"
REFRESH = "refresh-{kind}-0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Script:
    """`grant` is added to the access token; `identity`: what the look-up of `identity_path` answers."""

    grant: dict[str, Any] = field(default_factory=dict)
    identity_path: str = ""
    identity: Any = None


SCRIPTS = {
    "linear": Script(
        {"token_type": "Bearer", "expires_in": 315_705_599, "scope": ["read", "issues:create"]},
        "/graphql",
        {"data": {"viewer": {"organization": {"id": "org-7", "name": "Acme"}}}},
    ),
    "jira": Script(
        {
            "refresh_token": REFRESH.format(kind="jira"),
            "expires_in": 3600,
            "scope": "read:jira-work write:jira-work offline_access",
        },
        "/oauth/token/accessible-resources",
        [
            {"id": "cloud-7", "name": "acme", "url": "https://acme.atlassian.net", "scopes": []},
            {"id": "cloud-8", "name": "other", "url": "https://other.atlassian.net", "scopes": []},
        ],
    ),
    "hubspot": Script(
        {"token_type": "bearer", "refresh_token": REFRESH.format(kind="hubspot"), "expires_in": 1800},
        f"/oauth/v1/access-tokens/{ACCESS.format(kind='hubspot')}",
        {
            "token": ACCESS.format(kind="hubspot"),
            "user": "ada@acme.example",
            "hub_domain": "acme.example",
            "scopes": ["tickets"],
            "hub_id": 62_515,
        },
    ),
    "intercom": Script(
        {"token": ACCESS.format(kind="intercom"), "token_type": "Bearer"},
        "/me",
        {"type": "admin", "id": "814860", "email": "ada@acme.example", "name": "Ada"},
    ),
    "google-sheets": Script(
        {
            "refresh_token": REFRESH.format(kind="google-sheets"),
            "expires_in": 3599,
            "scope": "https://www.googleapis.com/auth/userinfo.email openid",
            "token_type": "Bearer",
            "id_token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMTA1In0.c2lnbmF0dXJl",
        },
        "/v1/userinfo",
        {"sub": "1105", "email": "ada@acme.example", "email_verified": True},
    ),
    "clickup": Script(
        {"token_type": "Bearer"},
        "/api/v2/user",
        {"user": {"id": 182, "username": "Ada", "email": "ada@acme.example"}},
    ),
    "salesforce": Script(
        {
            "refresh_token": REFRESH.format(kind="salesforce"),
            "scope": "refresh_token full",
            "instance_url": "https://acme.my.salesforce.example",
            "id": "https://login.salesforce.example/id/00Dx/005x",
            "signature": "c2lnbmF0dXJl",
            "token_type": "Bearer",
            "issued_at": "1278448101416",
        },
    ),
}


class FakeProviders(HttpService):
    def settings(self) -> dict[str, str]:
        """Each provider at the paths that it has, on this host."""
        found = {}
        for kind in SCRIPTS:
            row, name = provider(kind, {}), kind.upper().replace("-", "_")
            found[f"TRACEGIST_{name}_CLIENT_ID"] = f"client-of-{kind}"
            found[f"TRACEGIST_{name}_CLIENT_SECRET"] = f"client-secret-of-{kind}"
            addresses = ("authorize_url", "token_url", *(["identity_url"] if row.identity_url else []))
            for member in addresses:
                address = urlsplit(getattr(row, member)).path
                found[f"TRACEGIST_{name}_{member.upper()}"] = self.url + address
        return found

    def reply_to(self, request: Received) -> Reply:
        kind = request.form.get("client_id", "").removeprefix("client-of-")
        if kind in SCRIPTS:
            return self._token(kind, request)
        for kind, script in SCRIPTS.items():
            if request.path == script.identity_path:
                known = request.headers.get("authorization") == f"Bearer {ACCESS.format(kind=kind)}"
                return Reply(200, script.identity) if known else Reply(401, {"error": "unauthorized"})
        if request.path.endswith("/revoke") or request.method == "DELETE":
            return Reply(204 if request.method == "DELETE" else 200, b"")
        return Reply(404, {"error": "not_found"})

    def _token(self, kind: str, request: Received) -> Reply:
        expected = urlsplit(provider(kind, {}).token_url).path
        good = request.path == expected and request.form.get("client_secret") == f"client-secret-of-{kind}"
        if not good or request.form.get("code") != f"code-of-{kind}":
            return Reply(400, {"error": "invalid_grant"})
        return Reply(200, {"access_token": ACCESS.format(kind=kind), **SCRIPTS[kind].grant})
