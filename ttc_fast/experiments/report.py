"""One page of HTML about a sweep, without anything from a network: figures with a value under the pointer, tables that
can be sorted, settings, versions, and how to make each figure again."""

from __future__ import annotations

import html
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .pooled import comparison, pooled
from .sweep_drawing import Curve, Picture
from .sweep_figures import pictures
from .sweep_table import SweepTable

_SVG = "{http://www.w3.org/2000/svg}"

MOST_ROWS = 1000
"""Of the table of figures."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --soft: #55595f; --line: #c8ccd2; --link: #0b57a4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --paper: #15181c; --soft: #b2b8c0; --line: #454b54; --link: #8cc4ff } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2rem }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem }
figure { margin: 0; color: var(--ink) } figure svg { width: 100%; height: auto }
figcaption { color: var(--soft); font-size: .875rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .875rem }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th button { font: inherit; font-weight: 600; color: var(--link); background: none; border: 0; padding: 0;
            cursor: pointer }
th[aria-sort=ascending]::after { content: " \\2191" }
th[aria-sort=descending]::after { content: " \\2193" }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); font-size: .875rem }
#tip { position: fixed; z-index: 1; pointer-events: none; background: var(--ink); color: var(--paper);
       padding: .2rem .5rem;
       border-radius: .25rem; font-size: .8rem } #tip:empty { display: none }
"""

_SCRIPT = """
const tip = document.getElementById("tip");
document.addEventListener("pointermove", event => {
  const point = event.target.closest("[data-tip]");
  tip.textContent = point ? point.dataset.tip : "";
  tip.style.left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 4) + "px";
  tip.style.top = event.clientY + 12 + "px";
});
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0], i = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[i].dataset.value ?? row.cells[i].textContent;
  const compare = (a, b) => key(a) - key(b) || String(key(a)).localeCompare(String(key(b)));
  body.append(...[...body.rows].sort((a, b) => up ? compare(a, b) : compare(b, a)));
});
"""


def report(found: SweepTable, title: str, study: str | None, commands: Sequence[str]) -> str:
    """The page.

    Args:
        found: of :func:`ttc_fast.load`.
        title: of the page.
        study: text of the study file; None: not known.
        commands: what makes the table and the figures again.

    Returns:
        HTML, one file.
    """
    drawn = [(picture, *svg(picture)) for picture in pictures(found)]
    rows = comparison(pooled(found))
    seeds = len(found.axes.get("seed", [0]))
    varied = "; ".join(f"{name}: {_short(values)}" for name, values in found.axes.items()) or "nothing"
    facts = {**found.facts, "runs": len(found.runs), "seeds": seeds}
    common = {k: v for k, v in found.settings[0].items() if all(other[k] == v for other in found.settings)}
    lines = "\n".join(commands)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{len(found.runs):,} runs of ttc-fast; what varies: {html.escape(varied)}. Runs that differ in the seed "
        "only are taken together. Figures are means over prompts with 95 % intervals; a dashed line, or the column "
        "law, is the exact expectation given the same prompts. The value of a point is under the pointer.</p>",
        '<h2>Figures</h2><div class="figures">',
        *(_figure(picture, drawing, curves, commands[-1]) for picture, drawing, curves in drawn),
        "</div>",
        "<h2>Comparison of the techniques</h2><p>At the most thoughts and samples of each setting.</p>",
        _table(rows[:MOST_ROWS], "Comparison of the techniques"),
        "" if len(rows) <= MOST_ROWS else f"<p>The first {MOST_ROWS:,} of {len(rows):,} rows; the others are in "
        "table.parquet.</p>",
        f"<h2>How to make it again</h2><pre tabindex=\"0\">{html.escape(lines)}</pre>",
        "" if study is None else f'<p>study.toml:</p><pre tabindex="0">{html.escape(study)}</pre>',
        "<h2>Versions</h2>", _table([{"fact": name, "value": str(v)} for name, v in facts.items()], "Versions"),
        "<h2>Settings of all runs</h2>",
        _table([{"setting": name, "value": json.dumps(v)} for name, v in common.items()], "Settings of all runs"),
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">\n'
        f"<style>{_STYLE}</style></head>\n<body><main>\n" + "\n".join(part for part in parts if part)
        + f'\n</main><div id="tip" aria-hidden="true"></div><script>{_SCRIPT}</script></body></html>\n'
    )  # fmt: skip


def _short(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values if len(values) <= 8 else [*values[:3], "...", values[-1]]))


def _figure(picture: Picture, drawing: str, curves: Sequence[Curve], command: str) -> str:
    rows = [
        {"technique": curve.label, "at": x, "mean": point.mean, "low": point.ci_low, "high": point.ci_high}
        for curve in curves for x, point in zip(curve.x, curve.points)
    ]  # fmt: skip
    data = f"<details><summary>Values</summary>{_table(rows, f'Values of {picture.name}')}</details>" if rows else ""
    return (
        f'<figure id="{html.escape(picture.name)}">{drawing}<figcaption>{html.escape(picture.caption)} '
        f"<code>{html.escape(command)} --only {html.escape(picture.name)}</code></figcaption>{data}</figure>"
    )


def _table(rows: Sequence[Mapping[str, Any]], label: str) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col"><button type="button">{html.escape(name)}</button></th>' for name in rows[0])
    body = "\n".join("<tr>" + "".join(map(_cell, row.values())) + "</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{html.escape(label)}"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td data-value="{value!r}">{value:.4g}</td>'
    return f"<td>{'' if value is None else html.escape(str(value))}</td>"


def svg(picture: Picture) -> tuple[str, list[Curve]]:
    """A picture as SVG for a page: in the page's own colours, with the value of each point under the pointer.

    Args:
        picture: to be drawn.

    Returns:
        The element, and its curves.
    """
    import matplotlib

    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": picture.name}):
        figure, curves = picture.figure()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(file.getvalue())
    for parent in root.iter():
        for child in [child for child in parent if child.tag == f"{_SVG}metadata"]:
            parent.remove(child)
    for i, curve in enumerate(curves):
        group = root.find(f".//*[@id='curve-{i}']")
        points = [] if group is None else group.findall(f".//{_SVG}use")
        shown = [(x, point) for x, point in zip(curve.x, curve.points) if point.mean > 0]
        for mark, (x, point) in zip(points, shown):
            tip = f"{curve.label}, {x:g}: {point.mean:.4g} ({point.ci_low:.4g} to {point.ci_high:.4g})"
            mark.set("data-tip", tip)
    root.set("role", "img")
    root.set("aria-label", f"{picture.title}: {picture.caption}")
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"(?<=[ :])#000000(?=[;\"])", "currentColor", text)
    # What is black by default must be said; names are of this picture, as a page has several.
    text = text.replace("<svg ", '<svg fill="currentColor" ', 1)
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{picture.name}-", text)
    return text.replace("font: ", "font-family: sans-serif; font: "), curves


def study_text(folder: Path) -> str | None:
    """The study file that a sweep has copied to its folder; None if it was not made from a file."""
    path = folder / "study.toml"
    return path.read_text(encoding="utf-8") if path.exists() else None
