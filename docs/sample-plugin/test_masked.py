"""The contract, on our transport: `pytest` in this folder, with vigilnet installed."""

from vigilnet_masked import MaskedTransport, make

from vigilnet.testing.transports import TransportContract


class TestMasked(TransportContract):
    def make(self) -> MaskedTransport:
        return make(self.context(mask="0x5a"))
