"""Pluggable transports: other programs that carry links (Tor's interface, version 1), and Python plug-ins.

A managed proxy is a process of ours: as a client it is a SOCKS5 proxy to dial through, as a server it
listens for us and hands connections to our extended OR port. docs/spec/pluggable.md.
"""
