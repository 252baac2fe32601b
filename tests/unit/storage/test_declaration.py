from typing import Any

import pytest

from jobs.errors import ValidationFailed
from storage.declaration import parse_declaration


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "A declaration is an object"),
        ({"project": []}, "project: there is no such member."),
        ({"projects": [{"name": "a", "color": "red"}]}, "projects[0].color: there is no such member."),
        ({"projects": [{}]}, "projects[0].name: Field required."),
        ({"projects": [{"name": " "}]}, "projects[0].name: "),
        ({"projects": [{"name": "a"}, {"name": "a"}]}, "the project a is declared twice."),
        ({"projects": [{"name": "a", "feature_flags": {"x": "yes"}}]}, "projects[0].feature_flags.x: "),
        ({"users": [{"email": "nobody"}]}, "users[0].email: "),
        ({"users": [{"email": "A@x"}, {"email": "a@X"}]}, "the user a@x is declared twice."),
        ({"keys": [{"name": "k", "user": "a@x", "scopes": ["logs"]}]}, "keys[0].scopes[0]: "),
        ({"keys": [{"name": "k", "user": "a@x", "scopes": []}]}, "keys[0]: without a scope"),
        (
            {"keys": [{"name": "k", "user": "a@x", "scopes": ["*"], "label": "x" * 41}]},
            "keys[0].label: ",
        ),
        (
            {"keys": [{"name": "k", "user": "a@x", "scopes": ["*"], "expires_at": "2030-01-01T00:00:00"}]},
            "keys[0].expires_at: ",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(content: Any, said: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        parse_declaration(content)

    assert raised.value.detail.startswith(said)


def test_a_key_may_name_its_user_as_email() -> None:
    declared = parse_declaration({"keys": [{"name": "k", "email": "Ada@Example.com", "scopes": ["*"]}]})

    assert declared.keys[0].user == "ada@example.com"


def test_an_empty_declaration_is_fine() -> None:
    assert parse_declaration({}).keys == ()
