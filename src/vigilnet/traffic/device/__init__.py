"""The whole device: every application's traffic over circuits, without the application knowing (Linux first).

TCP comes by a redirect in the kernel, UDP and ICMP by a TUN interface, names by a redirect of port 53; a
firewall of our own lets nothing else out. What needs the system's rights is done by a small helper process
(`helper_io`) that knows a short list of operations; everything that touches the network is the daemon's.

Inputs: a dialler for streams, datagrams, echoes and look-ups. Does not choose paths or speak to relays.
docs/spec/device.md.
"""
