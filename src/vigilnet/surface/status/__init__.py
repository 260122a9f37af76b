"""The status interface: how this node is, over HTTP on this machine, and its directory if it runs one.

Shapes are those of qnet's helper (docs/spec/operator.md section 4), so that its extension and scripts go on
working. It shows no target, name or key. What changes something needs POST, the token and a good Host and
Origin.
"""
