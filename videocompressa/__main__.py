"""`python -m videocompressa`: the command line without its console script."""

import sys

from videocompressa.cli.main import main

sys.exit(main())
