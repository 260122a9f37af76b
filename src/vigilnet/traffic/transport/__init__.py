"""Transports: how a link's bytes travel. All serve the small Protocol in `carrier`."""
