"""What a migration does to others while it runs."""
