"""Both fakes, and the settings of a stack that asks them instead of the real services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.fakes.oauth import CLIENT_ID, CLIENT_SECRET, FakeOAuth
from tests.fakes.twilio import FakeTwilio
from tests.running import STACK_URL


@dataclass(frozen=True, slots=True)
class ConnectedServices:
    twilio: FakeTwilio
    oauth: FakeOAuth

    def settings(self, **more: str) -> dict[str, str]:
        """Slack as it is, and Linear for what takes PKCE and a look-up, both at the fake provider."""
        return {
            "TRACEGIST_PUBLIC_URL": STACK_URL,
            "TRACEGIST_TWILIO_BASE_URL": self.twilio.url,
            **{
                f"TRACEGIST_{kind}_{name}": value
                for kind in ("SLACK", "LINEAR")
                for name, value in {
                    "CLIENT_ID": CLIENT_ID,
                    "CLIENT_SECRET": CLIENT_SECRET,
                    "AUTHORIZE_URL": f"{self.oauth.url}/oauth/v2/authorize",
                    "TOKEN_URL": f"{self.oauth.url}/api/oauth.v2.access",
                }.items()
            },
            **more,
        }


@contextmanager
def connected_services(*, page_size: int = 1000) -> Iterator[ConnectedServices]:
    """Fakes that answer until the end of the block."""
    with FakeTwilio(page_size=page_size).serving() as twilio, FakeOAuth().serving() as oauth:
        yield ConnectedServices(twilio, oauth)
