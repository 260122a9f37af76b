"""Plug-ins by entry point: only those that the settings name are loaded, for loading runs their code."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.pluggable.options import Options
from vigilnet.traffic.transport.pluggable.plugin import ENTRY_POINTS, Plugin, PluginContext


def installed() -> Iterable[EntryPoint]:
    """Return the transports that packages of this installation offer."""
    return entry_points(group=ENTRY_POINTS)


def load_plugins(
    settings: Options,
    state: Path,
    random_bytes: Callable[[int], bytes],
    offered: Callable[[], Iterable[EntryPoint]] = installed,
) -> Mapping[str, Plugin]:
    """Load and make the plug-ins of `pluggable.plugins`.

    Raises:
        ConfigurationError: one is not installed, or does not load.
    """
    if not settings.plugins:
        return {}
    by_name = {entry.name: entry for entry in offered()}
    options = settings.plugin_arguments()
    plugins = {}
    for name in settings.plugins:
        entry = by_name.get(name)
        if entry is None:
            known = ", ".join(sorted(by_name)) or "none"
            raise ConfigurationError(f"pluggable.plugins: {name} is not installed; installed: {known}")
        context = PluginContext(state / f"{name}-plugin", random_bytes, options.get(name, {}))
        try:
            plugins[name] = entry.load()(context)
        except Exception as error:
            raise ConfigurationError(
                f"pluggable.plugins: {name} does not load ({type(error).__name__}: {error})"
            ) from error
    return plugins
