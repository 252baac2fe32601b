"""What holds for all tests."""

from hypothesis import settings

# A slow machine is no failure.
settings.register_profile("tracegist", deadline=None)
settings.load_profile("tracegist")
