"""Word vectors: compiled once, opened in milliseconds, explored.

From the ground up; a file imports only what is above it in this list:

    vectors/       compiled vectors: layout on disk, vocabulary, nearest words, evaluation
    compiling/     a published file becomes compiled vectors
    own_files      files of word vectors outside of the store
    loading        from a model of the store, or a file, to open vectors
    texts/         texts become tokens, and one vector each
"""
