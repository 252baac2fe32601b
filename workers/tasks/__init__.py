"""Celery tasks, one file a capability: validate, wire, call, return."""
