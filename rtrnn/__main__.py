"""`python -m rtrnn`: the command line."""

from rtrnn.cli import main

raise SystemExit(main())
