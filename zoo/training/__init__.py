"""Recipe, optimizers, schedules, early stopping and the loop that one can read."""
