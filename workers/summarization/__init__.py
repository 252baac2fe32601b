"""Numbered text to a summary whose every line reference resolves."""
