"""Contracts that packages of others can run on what they plug into us; no part of a running node."""
