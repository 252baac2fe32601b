"""Rates as they are written in settings."""

from __future__ import annotations

import pytest

from config.rates import Rate, parse_rate, parse_rates
from config.settings import Settings, SettingsError, load_settings


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50/minute", Rate(50, 60)),
        (" 200 / Hour ", Rate(200, 3600)),
        ("1/day", Rate(1, 86_400)),
        ("3/second", Rate(3, 1)),
        ("5/min", Rate(5, 60)),
        ("5/h", Rate(5, 3600)),
        ("5/s", Rate(5, 1)),
        ("5/minutes", Rate(5, 60)),
    ],
)
def test_rate_is_a_number_and_a_unit(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "50", "50/", "/minute", "0/minute", "-1/minute", "1.5/minute", "5/week", "5/"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="50/minute"):
        parse_rate(text)


def test_shortest_window_comes_first() -> None:
    assert parse_rates(["100/day", "5/minute"]) == (Rate(5, 60), Rate(100, 86_400))


def test_setting_is_a_list_of_rates() -> None:
    settings = load_settings({"TRACEGIST_RATE_LIMITS": "on", "TRACEGIST_RATE_LOGS": "5/minute,10/hour"})

    assert settings.rate_limits is True
    assert settings.rate_logs == ("5/minute", "10/hour")


def test_throttles_are_off_by_default() -> None:
    assert Settings().rate_limits is False
    assert Settings().auth_failures == ()


def test_rate_of_the_wrong_form_names_its_variable() -> None:
    with pytest.raises(SettingsError, match="TRACEGIST_RATE_DEFAULT"):
        load_settings({"TRACEGIST_RATE_DEFAULT": "many"})
