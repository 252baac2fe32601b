"""The `tracegist` command."""
