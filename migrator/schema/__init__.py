"""A database's schema: a snapshot, the difference of two, a scratch database, a reset."""
