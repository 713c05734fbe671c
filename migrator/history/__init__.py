"""What is applied: the history table, the progress next to it, the plan, the lock."""
