"""The data path, top to bottom: ingress and exit, circuit, link, transport.

`cell` is the unit that circuit and link exchange.
"""
