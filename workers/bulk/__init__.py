"""Bulk jobs in a worker: when they begin and end, and the work on one chunk of their items."""
