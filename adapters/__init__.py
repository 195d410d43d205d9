"""What you do to a network: freeze it rightly, give it a new head. Pure torch, any `nn.Module`."""
