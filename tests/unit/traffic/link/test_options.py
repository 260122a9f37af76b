"""The link room's settings refuse what would be unsafe."""

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.link.framing import KeyLimits
from vigilnet.traffic.link.options import Options


@pytest.mark.parametrize(
    "limits",
    [
        KeyLimits(frames=65_537),
        KeyLimits(octets=(1 << 30) + 1),
        KeyLimits(seconds=3601.0),
        KeyLimits(frames=1),
    ],
)
def test_a_key_cannot_be_made_to_live_longer(limits: KeyLimits) -> None:
    with pytest.raises(ConfigurationError, match="key_limits"):
        Options(key_limits=limits)


def test_nonsense_is_named() -> None:
    with pytest.raises(ConfigurationError, match="batch_frames: got 0"):
        Options(batch_frames=0)
