"""`python -m videocompressa`: the command line without its console script."""

from videocompressa.cli.main import run

run()
