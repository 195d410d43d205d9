"""A published file of word vectors becomes one that opens in milliseconds."""
