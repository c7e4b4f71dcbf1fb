"""`python -m app`: the commands of the gateway."""

from app.cli import main

raise SystemExit(main())
