"""Shadowsocks AEAD, of 2017 and of 2022, as what carries a link: random octets to whoever looks on.

A relay serves it for itself alone (whatever target a client names, it gets the link), or stands behind
another server of the same protocol. No cover against censors who block what looks random: that is HTX.
"""
