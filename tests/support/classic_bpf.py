"""The few instructions of classic BPF that `backends.egress_filter` uses, run over one packet."""

import operator

from vigilnet.traffic.backends.egress_filter import Instruction

_AD_PROTOCOL, _AD_MARK = 0xFFFFF000, 0xFFFFF014
_TESTS = {0x15: operator.eq, 0x35: operator.ge, 0x45: operator.and_}
_SIZES = {0x20: 4, 0x28: 2, 0x30: 1}


def run(program: list[Instruction], packet: bytes, *, kind: int = 0x0800, mark: int = 0) -> int:
    """Return what the program returns: 0 passes, 2 drops."""
    at = register = 0
    while True:
        code, on_true, on_false, value = program[at]
        at += 1
        if code in _SIZES:
            if value >= _AD_PROTOCOL:
                register = {_AD_PROTOCOL: kind, _AD_MARK: mark}[value]
            else:
                size = _SIZES[code]
                assert value + size <= len(packet), "a load from behind the end lets it pass"
                register = int.from_bytes(packet[value : value + size], "big")
        elif code == 0x80:
            register = len(packet)
        elif code == 0x54:
            register &= value
        elif code in _TESTS:
            at += on_true if _TESTS[code](register, value) else on_false
        elif code == 0x05:
            at += value
        else:
            assert code == 0x06
            return value
