"""Word vectors in memory: rows, vocabulary, neighbours, analogies."""
