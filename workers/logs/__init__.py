"""Logs: what comes in becomes rows, and questions about the rows become ClickHouse statements."""
