"""Checking an exported folder as its trainer would read it: every fault names the file and row, and what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError
from videocompressa.vlm.export.faults import AGAIN, FaultError, same_types
from videocompressa.vlm.export.formats import FORMATS, MANIFEST, VERSION, find_format
from videocompressa.vlm.export.schemas import CHECKS
from videocompressa.vlm.export.tables import check_packages


@dataclass(frozen=True)
class Fault:
    """Something that a trainer would stumble over."""

    where: str
    """File and row, such as "train.json row 3"; rows count from 0, as in the file. "" is the folder as a whole."""
    text: str
    """What is wrong, and what to do."""

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(frozen=True)
class Checked:
    """What a check found."""

    to: str
    num_rows: int
    faults: tuple[Fault, ...]


def check_export(folder: Path) -> Checked:
    """Check an exported folder; raises `InputError` when it is none."""
    manifest = _manifest(folder)
    to = manifest["format"]
    check_packages(find_format(to).packages, f"--check of a {to} folder")
    check = CHECKS[to](folder, manifest)
    faults: list[Fault] = []
    num_rows, shape = 0, None
    try:
        for where, row in check.rows():
            num_rows += 1
            try:
                if check.is_json:
                    shape = same_types(row, shape)
                check.row(row)
            except FaultError as error:
                faults.append(Fault(where, str(error)))
    except FaultError as error:
        faults.append(Fault("", str(error)))
    else:
        if num_rows != manifest["num_rows"]:
            text = f"holds {num_rows} rows, {MANIFEST} says {manifest['num_rows']}; {AGAIN}, or mend the number there"
            faults.append(Fault("", text))
    return Checked(to, num_rows, tuple(faults))


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError(f"--check {folder} is no folder; give one that videocompressa export wrote")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(
            f"--check {folder} holds no {MANIFEST}; give a folder that videocompressa export wrote"
        ) from None
    except ValueError as error:
        raise InputError(f"--check {folder}: {MANIFEST} is not json ({error}); {AGAIN}") from error
    if not isinstance(manifest, dict):
        raise InputError(f"--check {folder}: {MANIFEST} holds no object; {AGAIN}")
    if manifest.get("version") != VERSION or manifest.get("format") not in FORMATS:
        raise InputError(
            f"--check {folder}: {MANIFEST} is of format {manifest.get('format')!r}, version "
            f"{manifest.get('version')!r}; known: version {VERSION} of {', '.join(FORMATS)}"
        )
    for key, kind in {"num_rows": int, "classes": list, "names": list}.items():
        if not isinstance(manifest.get(key), kind):
            raise InputError(f"--check {folder}: {MANIFEST} says no {key}; {AGAIN}")
    if len(manifest["classes"]) != len(manifest["names"]):
        raise InputError(f"--check {folder}: {MANIFEST} has another number of classes than of names; {AGAIN}")
    return manifest
