"""What one does with a run or a model: predict, evaluate, embed."""
