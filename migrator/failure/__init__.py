"""What went wrong, where in the file, and what to do next."""
