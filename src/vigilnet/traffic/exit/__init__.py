"""Where streams leave: exit policy, name resolution, dialling targets."""
