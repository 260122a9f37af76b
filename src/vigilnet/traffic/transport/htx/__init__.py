"""HTX: links that pass for a browser's HTTPS.

In: a relay's htx key, address and host name. Out: a carrier whose connection began as a real TLS 1.3
handshake with a real origin, and goes on in TLS records that only the two ends can tell from its own.
Whoever is not authenticated is spliced to that origin. What goes inside the records is the link's affair.
"""
