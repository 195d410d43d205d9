"""The addresses that may be opened, and the hashes that bytes must have."""
