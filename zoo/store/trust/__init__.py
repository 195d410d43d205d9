"""What may be opened, and what its bytes must be."""
