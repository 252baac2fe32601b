from tests.integration.jobs.conftest import client, runs, server, sessions, shared_server

__all__ = ["client", "runs", "server", "sessions", "shared_server"]
