"""VigilNet: a privacy network. docs/ARCHITECTURE.md shows the rooms; imports point only downwards."""
