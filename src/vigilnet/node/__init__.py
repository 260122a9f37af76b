"""One running node: the only place that knows every room and plugs them together."""
