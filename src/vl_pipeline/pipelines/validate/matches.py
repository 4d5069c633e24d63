"""Pairs that screening turned away, each beside what it resembles, as pictures."""

import base64
import io

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from vl_pipeline.data.images import decode_rgb
from vl_pipeline.errors import ShardError
from vl_pipeline.pipelines.validate.page import Html, cut, render_value

_NUM_SHOWN = 12
_SIDE_PX = 192
_MAX_PIXELS = 4_000_000
_QUALITY = 80
_NAME_CHARACTERS = 24
_CHOSEN = (
    "Of each rule those that are furthest from what they resemble, and so most in doubt; the "
    "others are nearer. Left what was turned away, right what it resembles."
)


def render_matches(evidence: pa.Table, ledger: pa.Table) -> Html:
    """Show a few rows of each rule, nearest first.

    Thumbnails come from a pool and are hostile: what is shown was decoded and encoded here.

    Args:
        evidence: As `EVIDENCE_SCHEMA` has it.
        ledger: Everything turned away, to say how many a rule took.
    """
    if not evidence.num_rows:
        return Html('<p class="soft">Nothing that was turned away resembles anything else.</p>')
    rules = [_render_rule(rule, evidence, ledger) for rule in _by_name(evidence["rule"])]
    return Html(f'<p class="soft">{_CHOSEN}</p>{"".join(rules)}')


def _by_name(rules: pa.ChunkedArray) -> list[str]:
    return sorted(pc.unique(rules.drop_null()).to_pylist())


def _render_rule(rule: str, evidence: pa.Table, ledger: pa.Table) -> str:
    rows = evidence.filter(pc.equal(evidence["rule"], rule))
    order = [("distance", "ascending"), ("uid", "ascending"), ("matched_to", "ascending")]
    shown = rows.sort_by(order).slice(0, _NUM_SHOWN)
    num_all = pc.sum(pc.equal(ledger["rule"], rule)).as_py() or 0
    cards = "".join(_render_match(row) for row in shown.to_pylist())
    return (
        f"<h3>{render_value(rule)} "
        f'<span class="soft">{shown.num_rows} of {num_all:,} turned away</span></h3>'
        f'<div class="matches">{cards}</div>'
    )


def _render_match(row: dict) -> str:
    says_something = row["distance"] is not None and row["unit"] is not None
    distance = f"{row['distance']:.4g} {render_value(row['unit'])}" if says_something else ""
    away = _render_side("away", row["uid"], row["thumbnail"], row["caption"])
    matched = _render_side(
        "beside", row["matched_to"], row["matched_thumbnail"], row["matched_caption"]
    )
    return f'<div class="match"><b>{distance}</b><div class="sides">{away}{matched}</div></div>'


def _render_side(role: str, name: str | None, image: bytes | None, caption: str | None) -> str:
    words = f"<p><bdi>{render_value(cut(caption))}</bdi></p>" if caption else ""
    return (
        f'<div title="{render_value(name or "")}"><small>{role} <bdi>'
        f"{render_value(_short(name or ''))}</bdi></small>{render_image(image)}{words}</div>"
    )


def _short(name: str) -> str:
    return f"{name[: _NAME_CHARACTERS - 1]}…" if len(name) > _NAME_CHARACTERS else name


def render_image(data: bytes | None) -> Html:
    """Show a thumbnail, decoded and encoded anew; a place without one where it is none."""
    try:
        pixels = decode_rgb(data or b"", min_side_px=_SIDE_PX, max_pixels=_MAX_PIXELS)
    except ShardError:
        return Html('<div class="none">no picture</div>')
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    image.save(file, "JPEG", quality=_QUALITY)
    encoded = base64.b64encode(file.getvalue()).decode()
    return Html(f'<img alt="" src="data:image/jpeg;base64,{encoded}">')
