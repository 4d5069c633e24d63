"""Parts of a self-contained HTML page: its frame, and tables that escape what they are given."""

from collections.abc import Iterable, Mapping
from html import escape

_CELL_CHARACTERS = 200
_STYLE = """
:root { color-scheme: light; --ink: #1d2733; --soft: #66727f; --line: #e3e8ed; --fill: #5b7fa6;
  --good: #1e7b4d; --bad: #b3322c; }
body { margin: 0 auto; max-width: 1080px; padding: 36px 24px 64px; background: #fff;
  color: var(--ink); font: 14px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 17px; margin: 44px 0 10px; }
p { margin: 4px 0; }
.soft { color: var(--soft); }
.good { color: var(--good); }
.bad { color: var(--bad); }
header { border-left: 5px solid var(--good); padding: 2px 0 2px 18px; }
header.bad { border-color: var(--bad); color: inherit; }
header.bad h1 { color: var(--bad); }
header ul { margin: 10px 0; padding-left: 18px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-size: 12px; font-weight: 500; text-align: left;
  white-space: nowrap; }
th, td { border-bottom: 1px solid var(--line); padding: 5px 16px 5px 0; vertical-align: top;
  overflow-wrap: anywhere; }
th.number, th.name, th.code, th.bar { width: 1%; }
td.number, td.name, td.code, td.bar { max-width: 320px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
th.number, td.number { text-align: right; }
td.code { font: 12px/1.75 ui-monospace, Menlo, Consolas, monospace; }
tfoot td { border-bottom: 0; font-weight: 600; }
.sum { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline; margin: 12px 0 16px; }
.sum b { font-size: 24px; }
.sum span { color: var(--soft); margin-right: 12px; }
td.bar { min-width: 190px; }
td.bar i { background: var(--fill); display: inline-block; height: 9px; margin-right: 8px;
  min-width: 1px; }
details table { font-size: 12px; margin-bottom: 4px; }
details td, details th { border: 0; padding: 1px 14px 1px 0; }
summary { color: var(--soft); cursor: pointer; font-size: 12px; }
.figures { display: grid; gap: 28px; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); }
figure { display: flex; flex-direction: column; justify-content: space-between; margin: 0; }
figcaption b { display: block; font-weight: 600; }
svg { display: block; margin-top: 8px; width: 100%; }
svg rect { fill: var(--fill); }
svg line { stroke: #aeb8c2; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
"""


class Html(str):
    """Markup made by this project; every other value is escaped on its way into a page."""

    __slots__ = ()


def render_page(title: str, sections: Iterable[Html]) -> str:
    """Frame a page that loads nothing and, by its content policy, could not."""
    body = "\n".join(sections)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{render_value(title)}</title>
<style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def render_table(
    columns: Mapping[str, str],
    rows: Iterable[Iterable[object]],
    *,
    total: Iterable[object] = (),
) -> Html:
    """Render a table.

    Args:
        columns: Heading to style: `name`, `number`, `code` and `bar` stay on one line, or none.
        rows: One value per column; long text is cut.
        total: One value per column, for a last row that sums up; empty for none.
    """
    heads = "".join(
        f'<th class="{style}">{render_value(head)}</th>' for head, style in columns.items()
    )
    body = "\n".join(_render_row(row, columns) for row in rows)
    foot = f"<tfoot>{_render_row(total, columns)}</tfoot>" if total else ""
    return Html(f"<table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody>{foot}</table>")


def render_value(value: object) -> Html:
    """Render one value: markup as it is, a count with thousands, anything else escaped."""
    if isinstance(value, Html):
        return value
    return Html(f"{value:,}" if isinstance(value, int) else escape(str(value)))


def _render_row(row: Iterable[object], columns: Mapping[str, str]) -> str:
    # <bdi> keeps a value that switches the writing direction from reordering its neighbours.
    cells = (
        f'<td class="{style}"><bdi>{render_value(_cut(value))}</bdi></td>'
        for value, style in zip(row, columns.values(), strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cut(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Html) and len(value) > _CELL_CHARACTERS:
        return f"{value[: _CELL_CHARACTERS - 1]}…"
    return value
