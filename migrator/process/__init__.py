"""What a process is given and how it ends: settings, log, signals, errors. Knows no database."""
