"""Reading hello templates (those of the package and those that the user captured), and recorded visits."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.htx.recordings import Recording, parse_recordings
from vigilnet.traffic.transport.htx.templates import Template, parse_template


def bundled_templates() -> tuple[Template, ...]:
    """Return the templates that come with the program, by name."""
    folder = resources.files("vigilnet.traffic.transport.htx") / "templates"
    files = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".json"))
    return tuple(parse_template(entry.read_text(), name.removesuffix(".json")) for name, entry in files)


def load_templates(files: Sequence[Path]) -> tuple[Template, ...]:
    """Return the bundled templates and those in `files`; a file replaces the bundled one of its name.

    Raises:
        ConfigurationError: a file is missing or no template.
    """
    found = {template.name: template for template in bundled_templates()}
    for path in files:
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"htx.templates {path}: cannot be read ({error})") from error
        found[path.stem] = parse_template(text, path.stem)
    return tuple(found.values())


def load_visits(path: Path) -> list[Recording]:
    """Return the visits in a file of `vigilnet htx record`.

    Raises:
        ConfigurationError: it is missing, empty or no such file.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"htx.visits {path}: cannot be read ({error})") from error
    found = parse_recordings(text, f"htx.visits {path}")
    if not found:
        raise ConfigurationError(f"htx.visits {path}: no visit is in it")
    return found
