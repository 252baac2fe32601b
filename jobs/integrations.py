"""What may be connected: the checks of `POST integrations/`, and what its jobs carry.

Secrets are in what the shim gives to a worker, so that is sealed (`storage/secrets.py`) before it is a job.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from config.providers import KINDS as OAUTH_KINDS
from jobs.errors import ValidationFailed
from jobs.fields import Fields, object_body

TWILIO: Final = "twilio"
INTEGRATION_KINDS: Final = (TWILIO, *OAUTH_KINDS)
STATE_S: Final = 600  # how long a connect flow may take
MAX_CODE: Final = 4096
MAX_SECRET: Final = 256

_ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
_KEY_SID = re.compile(r"SK[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True)
class TwilioConnect:
    """`user` and `password` are those of Basic authentication: the account's own, or an API key's."""

    account_sid: str
    user: str
    password: str

    def secrets(self) -> dict[str, str]:
        return {"account_sid": self.account_sid, "user": self.user, "password": self.password}


@dataclass(frozen=True, slots=True)
class OAuthConnect:
    """A code of the provider, and the state under which the flow was started."""

    kind: str
    code: str
    state: str


def parse_connect(
    value: object, *, require_configured: Callable[[str], object]
) -> TwilioConnect | OAuthConnect:
    """Check the body of `POST integrations/`.

    `require_configured` raises for an OAuth kind that this deployment has no client for.

    Raises:
        ValidationFailed: the first field that is not acceptable.
    """
    fields = Fields(object_body(value))
    kind = fields.choice("kind", INTEGRATION_KINDS)
    if kind != TWILIO:
        require_configured(kind)
    config = Fields(fields.obj("config"), prefix="config")
    if kind == TWILIO:
        return _twilio(config)
    return OAuthConnect(kind, code=_token(config, "code"), state=_token(config, "state"))


def is_account_sid(text: str) -> bool:
    return _ACCOUNT_SID.fullmatch(text) is not None


def invalid_state(attr: str) -> ValidationFailed:
    return ValidationFailed("This flow is unknown, over, or somebody else's. Start a new one.", attr=attr)


def secret_unreadable() -> ValidationFailed:
    return ValidationFailed(
        "The stored secret cannot be read with the present keys. Connect the account again.",
        code="secret_unreadable",
    )


def connect_scope(kind: str) -> str:
    """The account that a connect job's secrets are sealed for: it is not known yet."""
    return f"connect:{kind}"


def _twilio(config: Fields) -> TwilioConnect:
    account_sid = _sid(config, "account_sid", _ACCOUNT_SID)
    if "api_key_sid" in config.source and "auth_token" not in config.source:
        user = _sid(config, "api_key_sid", _KEY_SID)
        return TwilioConnect(account_sid, user, _secret(config, "api_key_secret"))
    return TwilioConnect(account_sid, account_sid, _secret(config, "auth_token"))


def _sid(config: Fields, name: str, pattern: re.Pattern[str]) -> str:
    value = _present(config, name)
    text = value.strip() if isinstance(value, str) else ""
    if not pattern.fullmatch(text):
        raise config.fail(name, "invalid_input", "This is not a SID of this kind.")
    return text


def _secret(config: Fields, name: str) -> str:
    """Not trimmed: a line break that was pasted along is an error now and not a refused call later."""
    value = _present(config, name)
    good = isinstance(value, str) and 0 < len(value) <= MAX_SECRET and value.isprintable()
    if not isinstance(value, str) or not good or any(map(str.isspace, value)):
        raise config.fail(name, "invalid_input", "Must be 1 to 256 characters without blanks.")
    return value


def _token(config: Fields, name: str) -> str:
    if name not in config.source:
        raise config.fail(name, "required", "This field is required.")
    text = config.text(name, default=None, max_length=MAX_CODE)
    if not text:
        raise config.fail(name, "blank", "This field may not be blank.")
    return text


def _present(config: Fields, name: str) -> object:
    if name not in config.source:
        raise config.fail(name, "required", "This field is required.")
    value = config.source[name]
    if value is None:
        raise config.fail(name, "null", "This field may not be null.")
    return value
