"""Write the dictionary of the file's provenance (`videocompressa/artifact/dictionary.py`) from today's defaults.

    python tools/make_dictionary.py

It holds the provenance of a set with the default codec and method, then what other methods' defaults and the codecs
of pixels have besides. Files of one format number share one dictionary: writing another one makes another format. The
golden bytes of `tests/test_artifact.py` and the example of `docs/format.md` change with it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from videocompressa.clip import CodecSpec
from videocompressa.codecs import build_codec
from videocompressa.methods import METHODS

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "videocompressa" / "artifact" / "dictionary.py"
PAGE = ROOT / "docs" / "format.md"
SHORTEST = 8
HEAD = '''"""The dictionary of format 2's provenance, by `tools/make_dictionary.py`; frozen with the format number."""

'''


def text_of(content: dict[str, Any]) -> str:
    """Return canonical JSON."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def codec_of(spec: CodecSpec) -> dict[str, Any]:
    """Return a codec as the provenance has it."""
    return {
        "bytes": spec.num_bytes,
        "channels": spec.channels,
        "downscale": spec.downscale,
        "scale": list(spec.scale),
        "sha256": spec.weights_sha256,
        "shift": list(spec.shift),
    }


def added(dictionary: str, text: str) -> str:
    """Return the dictionary with those pieces of a text, from comma to comma, that it does not hold."""
    pieces = re.split(r"(?<=,)", text)
    run = ""
    for piece in [*pieces, ""]:
        if piece and piece not in dictionary:
            run += piece
        elif run:
            dictionary, run = dictionary + (run if len(run) >= SHORTEST else ""), ""
    return dictionary


def main() -> None:
    """Write the module, and its text into the page."""
    texts = [
        text_of(
            {
                "classes": [],
                "codec": codec_of(build_codec(codec).spec),
                "config": dataclasses.asdict(METHODS[method].config),
            }
        )
        for codec, method in [
            ("tiny", "videocompressa"),
            *(("pixel", name) for name in sorted(METHODS)),
            ("ycbcr", "videocompressa-bytes"),
        ]
    ]
    dictionary = texts[0][:-1] + ',"normalization":{"mean":[0.'
    for text in texts[1:]:
        dictionary = added(dictionary, text)
    dictionary += '],"positions":"","split":"","times":[],"videos":[".mp4","train/'
    lines = [dictionary[start : start + 100] for start in range(0, len(dictionary), 100)]
    quoted = "".join(f"    {line!r}\n" for line in lines)
    MODULE.write_text(f"{HEAD}DICTIONARY = (\n{quoted})\n", encoding="utf-8")
    shown = "\n".join(dictionary[start : start + 120] for start in range(0, len(dictionary), 120))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub("(?<=```text\n).*?(?=\n```)", lambda _: shown, page, flags=re.DOTALL), encoding="utf-8")
    print(f"{len(dictionary)} characters to {MODULE}")


if __name__ == "__main__":
    main()
