"""Changes one option in a settings file, and leaves everything else in it as its owner wrote it."""

import os
import tempfile
import typing
from collections.abc import Mapping
from pathlib import Path

from vigilnet.base.config import keys_of
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.node.options import Options


def change_file(path: Path, changes: Mapping[str, str | None]) -> None:
    """Write options into a settings file, or take them out where the value is None.

    Args:
        path: the file; made with mode 0600 if it is not there.
        changes: by dotted key, the value as one writes it with --set. Checked by whoever loads it.

    Raises:
        ConfigurationError: the file is not TOML, or a key is unknown.
        EnvironmentRefusedError: it cannot be read or written.
    """
    import tomlkit  # here, for a node seldom needs it
    from tomlkit.exceptions import TOMLKitError

    known = keys_of(Options())
    try:
        document = tomlkit.parse(path.read_text("utf-8") if path.exists() else "")
        for dotted, text in changes.items():
            if dotted not in known:
                raise ConfigurationError(f"settings: unknown key {dotted!r}")
            *tables, name = dotted.split(".")
            table = document
            for part in tables:
                table = table.setdefault(part, tomlkit.table())
            if text is None:
                table.pop(name, None)
            else:
                table[name] = _toml_value(known[dotted].default, known[dotted].kind, text)
        _write(path, tomlkit.dumps(document))
    except (TOMLKitError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"{path}: not a valid settings file; correct it by hand") from error
    except OSError as error:
        raise EnvironmentRefusedError(
            f"{path}: cannot be written: {error.strerror}; change it by hand, or run with another --config"
        ) from error


def _toml_value(default: object, kind: object, text: str) -> object:
    """Return the value in TOML's kinds; what does not fit stays text, and is refused on loading."""
    if isinstance(default, tuple):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if typing.get_args(kind)[:1] == (int,) and all(part.isdecimal() for part in parts):
            return [int(part) for part in parts]
        return parts
    lowered = text.strip().lower()
    if isinstance(default, bool):
        return {"true": True, "1": True, "yes": True, "on": True}.get(
            lowered, False if lowered in ("false", "0", "no", "off") else text
        )
    try:
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float) or kind in (float, float | None):
            return float(text)
    except ValueError:
        pass
    return text


def _write(path: Path, text: str) -> None:
    """Replace the file whole or not at all; a link stays a link."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
