"""The verb `settings`, and `--config`: a TOML file with options and settings by their names."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection, Token

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.errors import InputError, check_known

TABLES = ("set", "train")
"""Options that take name=value, and are tables of the file."""


@cli.app.command(help_epilogue="Example: `videocompressa settings videocompressa`")
def settings(
    method: Annotated[str, Parameter(name="METHOD")], /, *, reporting: cli.ReportingArguments = cli.REPORTING
) -> None:
    """List the settings that `--set name=value` takes: meaning, default and what is allowed.

    Parameters
    ----------
    method
        A method, for compress and bench; or train, for the students of train, and of bench by --train.
    """
    from videocompressa.methods import METHODS
    from videocompressa.recipes.settings import list_settings
    from videocompressa.students.settings import TrainConfig

    check_known("unknown method", method, ("train", *METHODS))
    listed = list_settings(TrainConfig() if method == "train" else METHODS[method])
    if reporting.json:
        terminal.print_json({"settings": [asdict(each) for each in listed]})
        return
    console = terminal.stdout_console()
    for each in listed:
        console.print(f"{each.name}={each.default}", markup=False, soft_wrap=True, style="bold")
        text = textwrap.fill(f"{each.meaning} Allowed: {each.allowed}.", 76)
        console.print(textwrap.indent(text, "    "), markup=False, soft_wrap=True)


def read_config(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Add the options of the file that --config names, unless they are on the command line; raises `InputError`."""
    by_name = {name.removeprefix("--"): each for each in arguments for name in each.names if name.startswith("--")}
    if "config" not in by_name or not (tokens := by_name.pop("config").tokens):
        return
    where = f"--config {tokens[-1].value}"
    for key, value in _read(Path(tokens[-1].value), where).items():
        if (argument := by_name.get(name := key.replace("_", "-"))) is None:
            known = ", ".join(sorted(name for name in by_name if not name.startswith(("no-", "empty-"))))
            raise InputError(f"{where}: {key} is no option of {' '.join(commands)}; known: {known}")
        if name in TABLES:
            texts = [f"{setting}={text}" for setting, text in _flat(value, f"{where}: [{key}]")]
        elif argument.tokens:
            continue
        else:
            texts = list(map(_text, value)) if isinstance(value, list) and name == "classes" else [_text(value)]
        # Before those of the command line, because the last value of a setting counts.
        given = [Token(keyword=f"--{name}", value=text, source=where, index=i) for i, text in enumerate(texts)]
        argument.tokens[:] = given + [token.evolve(index=len(given) + i) for i, token in enumerate(argument.tokens)]


cli.app.config = (read_config,)


def _read(path: Path, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a TOML file") from None
    except ValueError as error:
        raise InputError(f'{where}: is not TOML ({error}); write lines such as vpc = 3 or method = "dm"') from None


def _flat(values: object, where: str) -> Iterator[tuple[str, str]]:
    """Yield settings with dotted names, of nested tables too."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is {values!r}; write a table of settings, such as [set] and views.mirror = true")
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", text) for inner, text in _flat(value, where))
        else:
            yield name, _text(value)


def _text(value: object) -> str:
    """Return a value as it is typed; of a list, with commas."""
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
