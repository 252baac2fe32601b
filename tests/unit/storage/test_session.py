import pytest

from storage.session import make_engine


@pytest.mark.parametrize(
    "url",
    ["postgres://u:p@db:5432/x", "postgresql://u:p@db:5432/x", "postgresql+psycopg://u:p@db:5432/x"],
)
def test_every_spelling_of_postgresql_uses_the_same_driver(url: str) -> None:
    engine = make_engine(url)

    assert engine.url.render_as_string(hide_password=False) == "postgresql+psycopg://u:p@db:5432/x"
    engine.dispose()
