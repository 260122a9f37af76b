"""The `vigilnet` command, one file per command group. Reaches the node only through the control client."""
