"""The run: everything pending is applied, each migration exactly once."""
