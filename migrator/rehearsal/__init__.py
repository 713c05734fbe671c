"""Everything pending is run, measured and rolled back."""
