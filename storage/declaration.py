"""The declarative form of projects, users and keys, and its checks. `provisioning.py` carries it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Self, TypeVar

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationError,
    model_validator,
)

from jobs.errors import ValidationFailed

LABEL_LENGTH = 40

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LABEL_LENGTH)]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=320, pattern=r"^[^\s@]+@[^\s@]+$"),
]
Scope = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z][a-z0-9_]*:(read|write))$")]
Flag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def names(self, member: str) -> bool:
        """Whether the member is in the text, if only as null: what is not stays as it is."""
        return member in self.model_fields_set


class DeclaredProject(_Declared):
    name: Name
    feature_flags: dict[Flag, StrictBool] = Field(default_factory=dict)
    ai_data_processing_approved: StrictBool = True


class DeclaredUser(_Declared):
    email: Email
    projects: tuple[Name, ...] = ()
    active: StrictBool = True


class DeclaredKey(_Declared):
    name: Name
    user: Email = Field(validation_alias=AliasChoices("user", "email"))
    label: Label | None = None
    scopes: tuple[Scope, ...] = ()
    projects: tuple[Name, ...] | None = None
    expires_at: AwareDatetime | None = None
    revoked: StrictBool = False
    allow_empty_scopes: StrictBool = False

    @model_validator(mode="after")
    def _not_useless_by_mistake(self) -> Self:
        if self.names("scopes") and not self.scopes and not self.allow_empty_scopes:
            raise ValueError("without a scope the key may do nothing; say allow_empty_scopes if you mean it")
        return self


class Declaration(_Declared):
    projects: tuple[DeclaredProject, ...] = ()
    users: tuple[DeclaredUser, ...] = ()
    keys: tuple[DeclaredKey, ...] = ()

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for kind, names in (
            ("project", [project.name for project in self.projects]),
            ("user", [user.email for user in self.users]),
            ("key", [key.name for key in self.keys]),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"the {kind} {twice[0]} is declared twice")
        return self


Form = TypeVar("Form", bound=_Declared)


def parse_declaration(content: object) -> Declaration:
    """Check a whole declaration, as it was read from JSON."""
    if not isinstance(content, Mapping):
        raise ValidationFailed("A declaration is an object with projects, users and keys.")
    return checked(Declaration, content)


def checked(form: type[Form], content: Mapping[str, object]) -> Form:
    """Check one object.

    Raises:
        ValidationFailed: naming the place of the first mistake.
    """
    try:
        return form.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        unknown = first["type"] == "extra_forbidden"
        said = "there is no such member" if unknown else first["msg"].removeprefix("Value error, ")
        place = _place(first["loc"])
        raise ValidationFailed(f"{place}: {said}." if place else f"{said}.") from None


def _place(steps: tuple[str | int, ...]) -> str:
    """`keys[2].scopes[0]`"""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")
