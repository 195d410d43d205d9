"""From image files to the tensors that a network takes."""
