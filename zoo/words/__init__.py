"""Word vectors: compiled once, opened in milliseconds, explored."""
