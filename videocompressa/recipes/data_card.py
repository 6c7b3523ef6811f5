"""The card (README.md) of a data set that is made from a set file: its head, which the hub and `datasets` read, and
what people should know before they use it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from videocompressa.recipes.facts import labels_text
from videocompressa.recipes.settings import setting_texts
from videocompressa.synthetic import SyntheticSet


def set_facts(synthetic: SyntheticSet) -> dict[str, Any]:
    """Return what cards and exports say about where a set comes from, as JSON values."""
    provenance = synthetic.provenance
    labels = labels_text(synthetic)
    return {
        "source": provenance.source.name,
        "num_source_videos": provenance.source.num_videos,
        "num_source_frames": provenance.source.num_frames,
        "method": provenance.method,
        "settings": setting_texts(provenance.config),
        "method_seed": provenance.seed,
        "made_by": f"videocompressa {provenance.version}",
        "codec": synthetic.codec.name,
        "labels": labels + ("" if synthetic.labeler is None else ", and a labeler (a network that labels views)"),
        "soft": synthetic.labels.ndim == 2,
        "classes": list(synthetic.classes),
    }


def data_card(
    facts: Mapping[str, Any],
    *,
    holds: str,
    contents: Sequence[tuple[str, str]],
    use: str,
    data_files: str,
    tasks: Sequence[str] = ("video-classification",),
    license_id: str | None = None,
) -> str:
    """Return the card.

    `facts` are those of `set_facts`; `holds` says what the data set is, `contents` are (name, text) of what is in it,
    `use` is Markdown, `data_files` are the files that `datasets` reads as the split train.
    """
    title = f"Keyframes of {facts['source']}"
    head = "" if license_id is None else f"license: {json.dumps(license_id, ensure_ascii=False)}\n"
    to_fill_in = "**License: to be filled in.** " if license_id is None else ""
    settings = ", ".join(f"`{setting}`" for setting in facts["settings"]) or "the method's defaults"
    source = f"{facts['num_source_videos']} training videos, {facts['num_source_frames']} frames"
    made = {
        "Source": f"{facts['source']}: {source}",
        "Method": f"`{facts['method']}`, seed {facts['method_seed']}; settings: {settings}",
        "Codec": f"`{facts['codec']}`",
        "Labels": facts["labels"],
        f"Classes ({len(facts['classes'])})": ", ".join(facts["classes"]),
    }
    return f"""---
{head}pretty_name: {json.dumps(title, ensure_ascii=False)}
task_categories:
{_list(tasks)}
tags:
- dataset-distillation
- keyframes
- video
- videocompressa
configs:
- config_name: default
  data_files:
  - split: train
    path: {data_files}
---

# {title}

{holds}

{to_fill_in}The pictures come from videos of {facts["source"]}: its license and terms hold for them.

## What is in it

{_list(f"**{name}**: {text}." for name, text in contents)}

## How it was made

By {facts["made_by"]}.

{_list(f"**{name}**: {text}." for name, text in made.items())}

## How to use it

{use}

## What it may reveal

Keyframes show what the videos showed: faces, places and other private content; the names of their files are listed.
Soft labels and a labeler, a network that learned all of the training videos, may reveal more of them than keyframes do.
"""


def _list(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)
