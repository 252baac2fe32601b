"""Twilio: is this account real, and which numbers does it have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from jobs.errors import ValidationFailed
from jobs.integrations import TwilioConnect, is_account_sid
from workers.integrations.calls import Answer, Basic, Calls, bad_answer
from workers.integrations.texts import MAX_NAME, holds_secret, member, text_of

PAGE_SIZE: Final = 1000
MAX_PAGES: Final = 50
REFUSED: Final = (401, 403, 404)

PhoneNumber = dict[str, str]


class AuthFailed(ValidationFailed):
    """Twilio does not accept the credentials."""

    code = "integration_auth_failed"


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    sid: str
    name: str


async def verify(calls: Calls, base_url: str, credentials: TwilioConnect) -> TwilioAccount:
    """The account behind the credentials.

    Raises:
        AuthFailed: Twilio refuses them.
        UpstreamBadAnswer, Unavailable: it answers nothing usable, or not at all.
    """
    sid, basic = credentials.account_sid, (credentials.user, credentials.password)
    answer = await calls.read(f"{_account_url(base_url, sid)}.json", basic=basic)
    if answer.status in REFUSED and credentials.user != sid:
        # A standard API key may not look at the account itself, only at what is in it.
        _accepted(await calls.read(f"{_numbers_url(base_url, sid)}?PageSize=1", basic=basic))
        return TwilioAccount(sid, sid)
    account = _accepted(answer)
    found = text_of(member(account, "sid"), max_length=MAX_NAME)
    if not is_account_sid(found):
        raise bad_answer()
    name = text_of(member(account, "friendly_name"), max_length=MAX_NAME)
    return TwilioAccount(found, found if not name or holds_secret(name, [credentials.password]) else name)


async def phone_numbers(calls: Calls, base_url: str, credentials: TwilioConnect) -> list[PhoneNumber]:
    """All numbers of the account in Twilio's order, up to `MAX_PAGES` pages. Raises as `verify`."""
    basic: Basic = (credentials.user, credentials.password)
    url: str | None = f"{_numbers_url(base_url, credentials.account_sid)}?PageSize={PAGE_SIZE}"
    found: list[PhoneNumber] = []
    for _ in range(MAX_PAGES):
        if url is None:
            break
        page = _accepted(await calls.read(url, basic=basic))
        found += _numbers_of(page, credentials)
        url = _next_url(base_url, member(page, "next_page_uri"))
    return found


def _account_url(base_url: str, sid: str) -> str:
    return f"{base_url}/2010-04-01/Accounts/{sid}"


def _numbers_url(base_url: str, sid: str) -> str:
    return f"{_account_url(base_url, sid)}/IncomingPhoneNumbers.json"


def _accepted(answer: Answer) -> dict[str, object]:
    if answer.status in REFUSED:
        raise AuthFailed("Twilio does not accept these credentials. Connect the account again.")
    value = answer.json() if answer.status == 200 else None
    if not isinstance(value, dict):
        raise bad_answer()
    return value


def _numbers_of(page: dict[str, object], credentials: TwilioConnect) -> list[PhoneNumber]:
    rows = page.get("incoming_phone_numbers")
    if not isinstance(rows, list):
        raise bad_answer()
    numbers = [_number_of(row) for row in rows]
    if any(holds_secret(text, [credentials.password]) for number in numbers for text in number.values()):
        raise bad_answer()
    return numbers


def _number_of(row: object) -> PhoneNumber:
    sid, number, name = (member(row, key) for key in ("sid", "phone_number", "friendly_name"))
    if not isinstance(sid, str) or not isinstance(number, str):
        raise bad_answer()
    return {"sid": sid, "phone_number": number, "friendly_name": name if isinstance(name, str) else ""}


def _next_url(base_url: str, uri: object) -> str | None:
    """The address of the next page, at the host that the credentials are for."""
    if uri is None or uri == "":
        return None
    if not isinstance(uri, str) or "\\" in uri or not uri.isprintable():
        raise bad_answer()
    base = urlsplit(base_url)
    if uri.startswith("/") and not uri.startswith(("//", f"{base.path}/")):
        uri = base.path + uri  # a base with a path: Twilio's own paths are below it
    try:
        url = urljoin(f"{base_url}/", uri)
        parts = urlsplit(url)
        same = (parts.scheme, parts.netloc.lower()) == (base.scheme, base.netloc.lower())
    except ValueError:
        same = False
    if not same:
        raise bad_answer()
    return url
