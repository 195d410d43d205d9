"""Fine-tuning: from a name and data to a run folder."""
