"""From texts to the words of some vectors: tokens, unknown words, pooling."""
