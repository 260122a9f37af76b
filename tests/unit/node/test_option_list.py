from vigilnet.base.config import keys_of
from vigilnet.node.option_list import option_list, text_of, values_of
from vigilnet.node.options import Options, load_options


def test_every_option_is_listed_with_its_words() -> None:
    keys = keys_of(Options())
    assert [info.key for info in option_list()] == list(keys)
    for info in option_list():
        assert info.meaning, info.key
        assert info.table, info.key
        assert info.variable == keys[info.key].variable
        assert info.kind in ("bool", "int", "float", "text", "octets", "path", "choice", "list")


def test_values_are_texts_that_set_the_same_again() -> None:
    values = values_of(Options())
    assert values == {key: text_of(found.default) for key, found in keys_of(Options()).items()}
    again = load_options(None, {}, [(key, text) for key, text in values.items()])
    assert values_of(again.options) | {"node.mode": ""} == values | {"node.mode": ""}
