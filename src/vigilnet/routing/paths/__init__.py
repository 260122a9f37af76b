"""Which relays make a path: constraints, guards, chance. Later: segments, metrics, disjoint paths."""
