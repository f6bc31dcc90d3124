"""`python -m nbtrade` runs the `nbtrade` command."""

from nbtrade.cli import main

raise SystemExit(main())
