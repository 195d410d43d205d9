"""An entry becomes an `nn.Module` with known stages, classifier and preprocessing."""
