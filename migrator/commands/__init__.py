"""One file a command: its manual page, its options, its body, its answer as text and as JSON."""
