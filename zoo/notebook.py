"""What values look like in a notebook: small tables, in which names of users are text and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def facts_table(facts: Mapping[str, object]) -> str:
    """A row for each fact; those that are None are left out.

    >>> facts_table({"label": "<b>", "error": None})
    '<table><tr><th>label</th><td>&lt;b&gt;</td></tr></table>'
    """
    from html import escape  # 1 ms that no command needs

    rows = (
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
        if value is not None
    )
    return f"<table>{''.join(rows)}</table>"


def rows_table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table with headings.

    >>> rows_table(["class"], [["ants"]])
    '<table><tr><th>class</th></tr><tr><td>ants</td></tr></table>'
    """
    from html import escape

    head = "".join(f"<th>{escape(name)}</th>" for name in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
