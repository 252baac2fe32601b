"""Calls to an OpenAI-compatible model: one client a process, our own retries, limits and breaker."""
