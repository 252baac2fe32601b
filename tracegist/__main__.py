"""`python -m tracegist`: the same as the `tracegist` command."""

from tracegist.cli.main import main

main()
