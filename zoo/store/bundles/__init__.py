"""Models and runs packed into one file, and taken out of it."""
