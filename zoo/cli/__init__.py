"""The command line: a client of the library, one file per group of verbs."""
