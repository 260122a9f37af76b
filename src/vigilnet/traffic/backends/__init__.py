"""What the device room needs of an operating system, for each of them (`device.backend.Backend`).

    Linux     nftables: TCP by redirect; a firewall that outlives the helper

`choice_io` picks one. Only the privileged helper imports this room. docs/spec/device.md.
"""
