"""Gossip frames to feed to what reads them: one of each form, and any that hypothesis thinks of."""

from hypothesis import strategies as st

from tests.support.records import RecordMaker
from vigilnet.routing.discovery import wire
from vigilnet.routing.discovery.inventory import Inventory, begin
from vigilnet.routing.discovery.wire import Have, Item, Items, ItemType, Mode, Range, Ranges, Want

SALT = b"saltsalt"
RECORD = RecordMaker("guest").record(1_800_000_000).encoded
ENTRY = wire.pack_entry(b"k" * 8, 1)
EXAMPLES: list[wire.Frame] = [
    begin(Inventory(), SALT),
    Ranges(SALT, (Range(wire.LAST_KEY, Mode.DIGEST, b"digest.."),)),
    Ranges(SALT, (Range(wire.LAST_KEY, Mode.LIST, entries=(ENTRY,)),)),
    Have((wire.pack_entry(RECORD[10:18], 1_800_000_000_000),)),
    Want((b"k" * 8,)),
    Items((Item(ItemType.RECORD, RECORD), Item(ItemType.PROOF, wire.encode_proof(RECORD, RECORD)))),
]

keys = st.binary(min_size=8, max_size=8)
entries = st.binary(min_size=16, max_size=16)
items = st.builds(Item, st.just(ItemType.RECORD), st.binary(min_size=1, max_size=1024)) | st.builds(
    Item, st.just(ItemType.PROOF), st.binary(min_size=1, max_size=wire.MAX_PROOF_SIZE)
)


@st.composite
def ranges_frames(draw: st.DrawFn) -> Ranges:
    lasts = sorted(draw(st.sets(keys.filter(lambda key: key > bytes(8)), max_size=6)) | {wire.LAST_KEY})
    parts, floor = [], b""
    for last in lasts:
        mode = draw(st.sampled_from(Mode))
        digest = draw(st.binary(min_size=8, max_size=8)) if mode is Mode.DIGEST else b""
        listed = draw(st.sets(entries, max_size=5)) if mode is Mode.LIST else set()
        inside = {entry[:8]: entry for entry in listed if floor < entry[:8] <= last}
        parts.append(Range(last, mode, digest, tuple(inside[key] for key in sorted(inside))))
        floor = last
    return Ranges(draw(st.binary(min_size=8, max_size=8)), tuple(parts))


frames = st.one_of(
    ranges_frames(),
    st.builds(Have, st.lists(entries, min_size=1, max_size=20).map(tuple)),
    st.builds(Want, st.lists(keys, min_size=1, max_size=20).map(tuple)),
    st.builds(Items, st.lists(items, min_size=1, max_size=4).map(tuple)),
)
