"""One connection to the server: reaching it, talking to it, its errors, locks and limits."""
