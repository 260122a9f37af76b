"""QUIC as what carries a link: for paths that lose packets. No cover: its hello is nobody's browser's."""
