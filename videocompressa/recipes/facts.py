"""What a set file holds, where it comes from and what it costs, as rows of names and texts for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videocompressa.recipes.settings import setting_texts
from videocompressa.texts import bytes_text, percent_text

if TYPE_CHECKING:
    from videocompressa.labeler import Labeler
    from videocompressa.synthetic import Cost, SyntheticSet


def set_rows(synthetic: SyntheticSet, cost: Cost) -> dict[str, str]:
    """Return all that is said about a set but its items."""
    clip, origin, source = synthetic.clip, synthetic.provenance, synthetic.provenance.source
    skipped = f", {source.num_skipped} skipped" if source.num_skipped else ""
    rows = {
        **cost_rows(cost),
        "clips": f"{clip.num_frames} frames of {clip.height}x{clip.width} px, fit {clip.fit}, fill {synthetic.fill}",
        "latents": f"{tuple(synthetic.latents.shape)} (N,K,C,h,w) of codec {synthetic.codec.name}",
        "labels": f"{labels_text(synthetic)}, {len(synthetic.classes)} classes",
        "method": f"{origin.method}, seed {origin.seed}, videocompressa {origin.version}",
        "settings": ", ".join(setting_texts(origin.config)) or "the method's defaults",
        "compressed from": f"{source.name}: {source.num_videos} videos, {source.num_frames} frames{skipped}",
        "split hash": source.split_hash[:16],
    }
    if synthetic.labeler is not None:
        rows["labeler"] = labeler_text(synthetic.labeler)
    return rows


def labels_text(synthetic: SyntheticSet) -> str:
    """Return which labels are stored."""
    return "soft (probabilities of a teacher)" if synthetic.labels.ndim == 2 else "hard"


def labeler_text(labeler: Labeler) -> str:
    """Return what a labeler is, and what rounding its weights changed."""
    spec, share = labeler.spec, f"{100 * labeler.agreement:.0f} %"
    what = f"layer on {spec.network}" if spec.is_layer else f"{spec.network} at width {spec.width:g}"
    return f"{what}, {spec.bits} bits a weight; {share} of labels as before rounding"


def cost_rows(cost: Cost) -> dict[str, str]:
    """Return what a set file costs, as rows."""
    keyframes = f"{cost.num_frames / cost.num_videos:.3g}"  # short videos may keep fewer
    ratio = percent_text(cost.frame_ratio)
    rows = {
        "kept": f"{cost.num_videos} videos x {keyframes} keyframes = {cost.num_frames} frames ({ratio})",
        "size": f"{bytes_text(cost.file_bytes)} ({percent_text(cost.byte_ratio)} of the training videos): latents "
        f"{bytes_text(cost.latent_bytes)}, labels {bytes_text(cost.label_bytes)}"
        + (f", labeler {bytes_text(cost.labeler_bytes)}" if cost.labeler_bytes else ""),
    }
    if cost.codec_bytes:
        rows["codec"] = f"{bytes_text(cost.codec_bytes)} of weights to decode it, "
        rows["codec"] += f"{bytes_text(cost.file_and_codec_bytes)} together"
    return rows
