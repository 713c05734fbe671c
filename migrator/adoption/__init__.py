"""A history for a database that migrator did not build."""
