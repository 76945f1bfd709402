"""Pages of reports: templates filled in with everything from outside escaped; one file holds all.

The only module that imports jinja2. A page's policy lets nothing in but what the file itself brings,
and of scripts those alone that were written here: what might pass an escape would still not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cache_schema.report.charts.base import Chart, embed, library
from cache_schema.store.files import write_atomic
from cache_schema.text import page as escaped


@dataclass(frozen=True, slots=True)
class Card:
    """A figure in large type; `kind` names its colour in the style sheet."""

    kind: str
    who: str
    value: str
    note: str


OURS = "cache_schema.report"
TEMPLATES = "page"


def write_page(
    out: Path,
    template: str,
    content: Mapping[str, Any],
    charts: Mapping[str, Chart],
    *,
    package: str = OURS,
) -> int:
    """Fill in a template and write the page atomically; gives its bytes.

    Parameters
    ----------
    out : Path
        HTML file to write.
    template : str
        Its name in the folder ``page`` of `package`; it may extend ours.
    content : mapping
        What the template names. Text in it is escaped, whoever wrote it.
    charts : mapping of str to Chart
        The template places each by ``chart(name)``.
    package : str
        The package that has the template.
    """
    data = _filled_in(template, content, charts, package).encode()
    write_atomic(out, data)
    return len(data)


def _filled_in(
    template: str, content: Mapping[str, Any], charts: Mapping[str, Chart], package: str
) -> str:
    embedded, environment = embed(charts), _environment(package)
    own = files(OURS) / TEMPLATES
    scripts = [library(), (own / "player.js").read_text(encoding="utf-8"), embedded.script]
    placed = environment.get_template("chart.html")

    def chart(name: str) -> Markup:
        place = Markup(embedded.places[name])
        return Markup(placed.render(place=place, legend=charts[name].legend))

    return environment.get_template(template).render(
        **content,
        chart=chart,
        style=Markup((own / "style.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
    )


def _environment(package: str) -> Environment:
    loaders = [PackageLoader(name, TEMPLATES) for name in dict.fromkeys((package, OURS))]
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """Escape what would turn the reading direction or is no character; HTML is escaped after it."""
    return value if isinstance(value, Markup) else escaped(value)


def _policy(scripts: list[str]) -> str:
    """Content security policy: no network, and no scripts but these."""
    digests = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    ]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src data:"
    )
