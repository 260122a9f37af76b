"""Completion scripts for bash, zsh and fish, made from the parser itself."""

import argparse
from collections.abc import Iterator
from typing import Final

SHELLS: Final = ("bash", "zsh", "fish")
_BASH: Final = """\
_vigilnet() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words="" at word path=""
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${{COMP_WORDS[at]}}
        case " {commands} " in *" ${{path:+$path/}}$word "*) path=${{path:+$path/}}$word ;; esac
    done
    case "$path" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}}
complete -F _vigilnet vigilnet
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell."""
    tree = dict(_tree(parser, ""))
    if shell == "fish":
        return "".join(_fish(tree))
    text = _bash(tree)
    return f"autoload -Uz bashcompinit && bashcompinit\n{text}" if shell == "zsh" else text


def _tree(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, list[str]]]:
    """Give for each path of commands ("config/get") the words that may follow."""
    words: list[str] = []
    below: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:  # noqa: SLF001 argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            below += action.choices.items()
            words += action.choices
        elif action.help != argparse.SUPPRESS:
            words += action.option_strings or [str(choice) for choice in action.choices or ()]
    yield path, words
    for name, command in below:
        yield from _tree(command, f"{path}/{name}" if path else name)


def _bash(tree: dict[str, list[str]]) -> str:
    cases = "\n".join(f'        "{path}") words="{" ".join(words)}" ;;' for path, words in tree.items())
    return _BASH.format(commands=" ".join(path for path in tree if path), cases=cases)


def _fish(tree: dict[str, list[str]]) -> Iterator[str]:
    yield "complete -c vigilnet -f\n"
    for path, words in tree.items():
        parts = path.split("/") if path else []
        seen = (
            "; and ".join(f"__fish_seen_subcommand_from {part}" for part in parts) or "__fish_use_subcommand"
        )
        for word in words:
            kind = (
                f"-l {word[2:]}"
                if word.startswith("--")
                else f"-s {word[1:]}"
                if word.startswith("-")
                else f"-a {word}"
            )
            yield f"complete -c vigilnet -n '{seen}' {kind}\n"
