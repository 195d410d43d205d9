"""The run folder: made by fine-tuning, then loaded to predict, evaluate and embed."""
