"""One command on many targets: which they are, in what order, how far they are."""
