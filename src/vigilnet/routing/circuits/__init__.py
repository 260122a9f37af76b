"""Circuits on demand: built ahead, reused, isolated, retired; serves the proxies' `Dialler`."""
