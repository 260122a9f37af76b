"""The control API: schema, server, client, authentication by peer credentials."""
