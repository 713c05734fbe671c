"""A small backend for typing practice, on the schema that the migrator builds."""
