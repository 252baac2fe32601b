"""The OAuth providers: one row each, every address and the scopes can be overridden by settings.

A second or third address without a host belongs to the host of the token address: with another token address
(a provider's own cloud, a test server) it moves along, so that a token is never sent elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator


class OAuthOptions(BaseModel):
    """What the environment says of one provider: `TRACEGIST_<KIND>_CLIENT_ID` and so on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client_id: str = Field("", description="Id of the app at the provider.")
    client_secret: str = Field("", repr=False, description="Secret of the app at the provider.")
    authorize_url: str = Field("", description="Where a browser is sent to agree.")
    token_url: str = Field("", description="Where a code is exchanged and a token is refreshed.")
    identity_url: str = Field("", description="Where the connected account is looked up, if it has to be.")
    revoke_url: str = Field("", description="Where a token is revoked, if the provider has that.")
    scopes: str = Field("", description="Scopes that are asked for, as the provider writes them.")

    @field_validator("authorize_url", "token_url", "identity_url", "revoke_url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("an address such as https://provider.example/oauth is required")
        return value


@dataclass(frozen=True, slots=True)
class OAuthProvider:
    """One provider. `external_id` and `name` are paths (`team.id`, `0.name`) into the answer that identifies.

    That answer is the token's own, or the one of `identity_url`: fetched with the token as a bearer, after
    `{token}` in the address is replaced, by POST when there is an `identity_query` (GraphQL). `shown` are
    members of the token's answer that may be shown. `revoke`: how the revocation call takes the token.
    """

    kind: str
    authorize_url: str
    token_url: str
    scopes: str
    external_id: str
    name: str
    extra: Mapping[str, str]
    shown: tuple[str, ...] = ()
    pkce: bool = False
    identity_url: str = ""
    identity_query: str = ""
    revoke_url: str = ""
    revoke: Literal["form", "bearer", "path"] = "form"
    client_id: str = ""
    client_secret: str = ""

    @property
    def has_client(self) -> bool:
        return bool(self.client_id and self.client_secret)


_HUBSPOT_OBJECTS = ("contacts", "companies", "deals")
_LINEAR_ORGANIZATION = "{ viewer { organization { id name } } }"

_ROWS: Final = (
    OAuthProvider(
        kind="slack",
        authorize_url="https://slack.com/oauth/v2/authorize",
        token_url="https://slack.com/api/oauth.v2.access",  # noqa: S106 - an address
        scopes="channels:read,groups:read,chat:write,chat:write.customize",
        extra={},
        external_id="team.id",
        name="team.name",
        shown=("team.id", "team.name", "enterprise.id", "enterprise.name", "app_id", "bot_user_id"),
        revoke_url="auth.revoke",
        revoke="bearer",
    ),
    OAuthProvider(
        kind="linear",
        authorize_url="https://linear.app/oauth/authorize",
        token_url="https://api.linear.app/oauth/token",  # noqa: S106 - an address
        scopes="read issues:create",
        extra={"actor": "application"},
        external_id="data.viewer.organization.id",
        name="data.viewer.organization.name",
        pkce=True,
        identity_url="/graphql",
        identity_query=_LINEAR_ORGANIZATION,
        revoke_url="/oauth/revoke",
        revoke="bearer",
    ),
    OAuthProvider(
        kind="jira",
        authorize_url="https://auth.atlassian.com/authorize",
        token_url="https://auth.atlassian.com/oauth/token",  # noqa: S106 - an address
        scopes="read:jira-work write:jira-work offline_access",
        extra={"audience": "api.atlassian.com", "prompt": "consent"},
        external_id="0.id",
        name="0.name",
        identity_url="https://api.atlassian.com/oauth/token/accessible-resources",
    ),
    OAuthProvider(
        kind="hubspot",
        authorize_url="https://app.hubspot.com/oauth/authorize",
        token_url="https://api.hubapi.com/oauth/v1/token",  # noqa: S106 - an address
        scopes=" ".join(
            [
                "tickets",
                *(f"crm.objects.{name}.{what}" for name in _HUBSPOT_OBJECTS for what in ("read", "write")),
            ]
        ),
        extra={
            "optional_scope": " ".join(f"crm.schemas.{name}.read" for name in _HUBSPOT_OBJECTS),
        },
        external_id="hub_id",
        name="hub_domain",
        identity_url="/oauth/v1/access-tokens/{token}",
        revoke_url="/oauth/v1/refresh-tokens/{token}",
        revoke="path",
    ),
    OAuthProvider(
        kind="intercom",
        authorize_url="https://app.intercom.com/oauth",
        token_url="https://api.intercom.io/auth/eagle/token",  # noqa: S106 - an address
        scopes="",
        extra={},
        external_id="id",
        name="email",
        identity_url="/me",
    ),
    OAuthProvider(
        kind="google-sheets",
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
        scopes=(
            "https://www.googleapis.com/auth/spreadsheets https://www.googleapis.com/auth/userinfo.email"
        ),
        extra={"access_type": "offline", "prompt": "consent"},
        external_id="sub",
        name="email",
        pkce=True,
        identity_url="https://openidconnect.googleapis.com/v1/userinfo",
        revoke_url="/revoke",
    ),
    OAuthProvider(
        kind="clickup",
        authorize_url="https://app.clickup.com/api",
        token_url="https://api.clickup.com/api/v2/oauth/token",  # noqa: S106 - an address
        scopes="",
        extra={},
        external_id="user.id",
        name="user.email",
        identity_url="/api/v2/user",
    ),
    OAuthProvider(
        kind="salesforce",
        authorize_url="https://login.salesforce.com/services/oauth2/authorize",
        token_url="https://login.salesforce.com/services/oauth2/token",  # noqa: S106 - an address
        scopes="full refresh_token",
        extra={},
        external_id="instance_url",
        name="instance_url",
        shown=("instance_url",),
        pkce=True,
        revoke_url="revoke",
    ),
)
_BY_KIND: Final = {row.kind: row for row in _ROWS}
KINDS: Final = tuple(_BY_KIND)


def provider(kind: str, options: Mapping[str, OAuthOptions]) -> OAuthProvider:
    """The row of a kind, with what the settings say of it."""
    row, chosen = _BY_KIND[kind], options.get(kind, OAuthOptions())
    token_url = chosen.token_url or row.token_url
    return replace(
        row,
        client_id=chosen.client_id,
        client_secret=chosen.client_secret,
        authorize_url=chosen.authorize_url or row.authorize_url,
        token_url=token_url,
        scopes=chosen.scopes or row.scopes,
        identity_url=chosen.identity_url or (row.identity_url and urljoin(token_url, row.identity_url)),
        revoke_url=chosen.revoke_url or (row.revoke_url and urljoin(token_url, row.revoke_url)),
    )
