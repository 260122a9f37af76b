"""Where applications enter: SOCKS5 and HTTP proxy listeners on this machine."""
