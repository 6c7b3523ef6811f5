"""The command line: reads options, makes one call, shows the result."""
