"""The tray item of a Linux desktop: the state at a glance, and the few things wanted without a window.

Speaks the two interfaces that desktops agree on, StatusNotifierItem and dbusmenu, over the session's D-Bus
(dbus-fast, the extra `desktop`). It is a control client like the commands: what it shows and does goes
through the control socket. Does not: open ports, keep state, or run without a desktop.
"""
