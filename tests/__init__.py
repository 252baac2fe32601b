"""Tests; `tests.fakes` can also be run."""
