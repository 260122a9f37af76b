"""Which way to go, and through whom: path choice and the pool of circuits."""
