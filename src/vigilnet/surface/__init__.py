"""How people and programs steer a node: daemon entry point, control API, command line."""
