"""What the device room needs of an operating system, for each of them (`device.backend.Backend`).

    Linux     with nftables: TCP by redirect; a firewall that outlives the helper
              without: TCP by the interface; routes, and filters at the doors, that outlive it
    macOS     TCP by the interface; routes, a pf anchor, a resolver in the dynamic store. Not tried there
    Windows   TCP by the interface (wintun); routes, filters of the platform, a rule for names. Not tried
              there, and not reached yet: the node does not run on Windows

`choice_io` picks one. Only the privileged helper imports this room. docs/spec/device.md.
"""
