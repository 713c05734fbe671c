"""Arguments become a command, and the command becomes an exit status."""
