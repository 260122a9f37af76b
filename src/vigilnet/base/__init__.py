"""The ground every room stands on: errors, codec, safe logging, clock, tasks, files.

Knows no room above it.
"""
