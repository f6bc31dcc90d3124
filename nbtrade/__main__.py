"""`python -m nbtrade` is `nbtrade`."""

from nbtrade.cli import main

raise SystemExit(main())
