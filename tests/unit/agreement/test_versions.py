from cache.keys import TEXT_PREFIX
from workers.text_repr import RENDERER_VERSION


def test_texts_of_another_renderer_are_not_served_from_the_cache() -> None:
    assert TEXT_PREFIX.endswith(f":{RENDERER_VERSION}")
