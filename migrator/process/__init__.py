"""Settings, log, signals, waiting, errors and exit statuses: everything without a database."""
