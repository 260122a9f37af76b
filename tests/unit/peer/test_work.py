"""Identity work."""

from vigilnet.peer.work import EPOCH_S, epoch_of, find_nonce, is_work_done, work_hash

IDENTITY = bytes(range(32))


def test_epochs_are_90_days() -> None:
    assert EPOCH_S == 90 * 86_400
    assert epoch_of(EPOCH_S - 1) == 0
    assert epoch_of(EPOCH_S) == 1


def test_work_that_is_found_is_done() -> None:
    nonce = find_nonce(IDENTITY, 7, 4, bytes)
    assert nonce is not None
    assert is_work_done(IDENTITY, nonce, 7, 4)
    assert work_hash(IDENTITY, nonce, 7)[0] < 16


def test_work_is_bound_to_identity_epoch_and_network() -> None:
    nonce = find_nonce(IDENTITY, 7, 8, bytes)
    assert nonce is not None
    others = [
        is_work_done(IDENTITY, nonce, 8, 8),
        is_work_done(IDENTITY[::-1], nonce, 7, 8),
        is_work_done(IDENTITY, nonce, 7, 8, "lab"),
        is_work_done(IDENTITY, nonce[::-1], 7, 8),
    ]
    assert not any(others)


def test_bits_are_counted_from_the_first() -> None:
    nonce = find_nonce(IDENTITY, 7, 5, bytes)
    assert nonce is not None
    zeros = 256 - int.from_bytes(work_hash(IDENTITY, nonce, 7)).bit_length()
    assert is_work_done(IDENTITY, nonce, 7, zeros)
    assert not is_work_done(IDENTITY, nonce, 7, zeros + 1)


def test_no_work_is_always_done_and_a_search_may_give_up() -> None:
    assert is_work_done(IDENTITY, bytes(8), 0, 0)
    assert find_nonce(IDENTITY, 7, 32, bytes, tries=2) is None


def test_the_search_goes_round_at_the_end() -> None:
    assert find_nonce(IDENTITY, 7, 3, lambda size: b"\xff" * size) is not None
