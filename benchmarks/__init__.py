"""How fast migrator is, beside the tools that do the same: `python -m benchmarks --help`."""
