"""The findings with their pictures, as one HTML file without scripts that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.choosing.checking.checker import DataCheck
from zoo.data.dataset import Item
from zoo.data.names import one_line, shortened
from zoo.data.pixels.thumbnails import thumbnail
from zoo.errors import UsageError

_MOST_SHOWN = 60  # findings of one check with their pictures; the rest is counted
_MOST_PICTURES = 6  # of one finding

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Check of {{ data }}</title><style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } td, th { text-align: left; padding: .2rem 1.2rem .2rem 0 }
td.count { text-align: right; font-variant-numeric: tabular-nums }
.finding { display: flex; flex-wrap: wrap; gap: .6rem; padding: .7rem 0; border-top: 1px solid #8884 }
.finding p { flex: 1 1 100%; margin: 0; overflow-wrap: anywhere }
figure { margin: 0; width: 160px; font-size: 12px; overflow-wrap: anywhere }
img { max-width: 160px; max-height: 160px }
.culprit figcaption { color: #b3261e }
blockquote { margin: 0; flex: 1 1 100%; opacity: .8 } .level { opacity: .7 }
</style></head><body>
<h1>{{ data }}</h1>
<p>{{ items }} {{ noun }}s of {{ classes }} classes.{% if model %} Looked at with {{ model }}.{% endif %}
Of each finding, what <code>--write</code> leaves out is in red.</p>
<table>{% for row in rows %}<tr><td><a href="#{{ row.name }}">{{ row.title }}</a></td>
<td class="count">{{ row.count }}</td><td>{{ row.advice }}</td></tr>{% endfor %}</table>
{% if nothing %}<p>Nothing found: {{ nothing }}.</p>{% endif %}
{% for name, why in unmade.items() %}<p>Not checked, {{ name }}: {{ why }}</p>{% endfor %}
{% for row in rows %}<h2 id="{{ row.name }}">{{ row.title }} <span class="level">({{ row.level }})</span></h2>
{% for finding in row.found %}<div class="finding"><p>{{ finding.text }}</p>
{% for item in finding.shown %}{% if item.picture %}<figure {% if item.culprit %}class="culprit"{% endif %}>
<img alt="" src="data:image/jpeg;base64,{{ item.picture }}"><figcaption>{{ item.name }}</figcaption></figure>
{% elif item.words %}<blockquote>{{ item.words }}</blockquote>{% endif %}{% endfor %}</div>{% endfor %}
{% if row.more %}<p>… and {{ row.more }} more.</p>{% endif %}{% endfor %}
</body></html>
"""


def write_page(found: DataCheck, out: Path) -> None:
    """Write the page. Raises UsageError where the file is there already."""
    from jinja2 import Environment

    if out.exists():
        raise UsageError(f"{out} is there already", hint="Name another file: nothing is overwritten.")
    template = Environment(autoescape=True).from_string(_PAGE)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(template.render(**_facts(found)), encoding="utf-8")


def _facts(found: DataCheck) -> dict[str, Any]:
    """What the page shows."""
    quiet = [name for name, findings in found.findings.items() if not findings]
    return {
        "data": one_line(found.dataset.root),
        "items": f"{len(found.dataset.items):,}",
        "noun": found.dataset.kind.noun,
        "classes": f"{len(found.dataset.classes):,}",
        "model": found.model,
        "nothing": ", ".join(quiet),
        "unmade": found.unmade,
        "rows": [_row(found, check) for check in found.checks],
    }


def _row(found: DataCheck, check: Any) -> dict[str, Any]:
    findings = found.findings[check.name]
    return {
        "name": check.name,
        "title": check.title,
        "level": check.level,
        "advice": check.advice,
        "count": f"{len(findings):,}",
        "more": max(0, len(findings) - _MOST_SHOWN),
        "found": [
            {
                "text": " ".join([*(found.evidence.name(i) for i in finding.items[:1]), finding.detail]),
                "shown": _shown(found, finding.items[:_MOST_PICTURES], finding.culprits),
            }
            for finding in findings[:_MOST_SHOWN]
        ],
    }


def _shown(found: DataCheck, items: Sequence[Item], culprits: Sequence[Item]) -> list[dict[str, Any]]:
    return [
        {
            "name": found.evidence.name(item),
            "culprit": item in culprits,
            "picture": None if item.text is not None else thumbnail(item.path),
            "words": None if item.text is None else shortened(item.text, 300),
        }
        for item in items
    ]
