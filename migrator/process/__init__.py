"""Settings, log, signals, waiting, errors and exit statuses: all that needs no database."""
