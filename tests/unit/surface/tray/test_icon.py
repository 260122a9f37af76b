import pytest

from vigilnet.surface.tray.icon import SIZES, pixmap

TONES = ("ok", "warn", "busy", "hold", "bad")


def shape(tone: str, size: int) -> list[int]:
    """What a reader without colours sees: nothing, ink or white."""
    pixels = pixmap(tone, size)
    return [
        0 if pixels[at] < 128 else 2 if min(pixels[at + 1 : at + 4]) > 160 else 1
        for at in range(0, len(pixels), 4)
    ]


@pytest.mark.parametrize("size", SIZES)
def test_every_tone_has_a_shape_of_its_own(size: int) -> None:
    shapes = {tone: shape(tone, size) for tone in TONES}
    for one in TONES:
        for other in TONES:
            differ = sum(a != b for a, b in zip(shapes[one], shapes[other], strict=True))
            assert one == other or differ > size, (one, other)


@pytest.mark.parametrize("tone", TONES)
def test_picture_is_whole_and_its_corners_are_clear(tone: str) -> None:
    pixels = pixmap(tone, 32)
    assert len(pixels) == 32 * 32 * 4
    assert pixels[0] == 0
    assert max(pixels[::4]) == 255
