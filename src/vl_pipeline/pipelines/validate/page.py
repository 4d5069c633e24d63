"""Parts of a self-contained HTML page: its frame, and tables that escape what they are given."""

from collections.abc import Iterable, Mapping
from html import escape

from vl_pipeline.pipelines.validate.style import STYLE

_CELL_CHARACTERS = 200


class Html(str):
    """Markup made by this project; every other value is escaped on its way into a page."""

    __slots__ = ()


def render_page(title: str, head: Html, sections: Mapping[str, Html]) -> str:
    """Frame a page that loads nothing and, by its content policy, could not.

    Args:
        title: Of the window.
        head: What comes first.
        sections: Heading to content; each gets a place in the navigation.
    """
    links = "".join(
        f'<a href="#s{n}">{render_value(heading)}</a>' for n, heading in enumerate(sections)
    )
    body = "\n".join(
        f'<section id="s{n}"><h2>{render_value(heading)}</h2>\n{content}</section>'
        for n, (heading, content) in enumerate(sections.items())
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{render_value(title)}</title>
<style>{STYLE}</style></head><body>
<nav><div>{links}</div></nav><main>
{head}
{body}
</main></body></html>
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
        f'<td class="{style}"><bdi>{render_value(cut(value))}</bdi></td>'
        for value, style in zip(row, columns.values(), strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"


def cut(value: object) -> object:
    """Shorten long text that is not markup."""
    if isinstance(value, str) and not isinstance(value, Html) and len(value) > _CELL_CHARACTERS:
        return f"{value[: _CELL_CHARACTERS - 1]}…"
    return value
