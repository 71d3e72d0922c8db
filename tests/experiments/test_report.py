"""Pictures and the page of a sweep; the page in a browser where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ttc_fast as tf
from experiments.sweeps import blocks_of, swept
from ttc_fast.cli.main import main
from ttc_fast.experiments.pooled import comparison, pooled
from ttc_fast.experiments.sweep_figures import pictures

pytest.importorskip("matplotlib")

STUDY: dict[str, Any] = {
    "run": {
        "coefficients": "continuous", "samples": 8, "prompts": 4, "steps": [1, 2, 4], "technique": ["mean", "greedy"],
        "dim": 2,
    },
    "grid": {"noise_scale": [0.1, 0.2, 0.4], "seed": [0, 1]},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("report") / "a & b"
    with pytest.MonkeyPatch.context() as patch:
        blocks_of(patch, 8)
        swept(made, study=STUDY)
    (made / "study.toml").write_text("# <this> is the study\n")
    return made


def test_seeds_are_taken_together(folder: Path) -> None:
    found = tf.load(folder)
    groups = pooled(found)
    assert [group.varied for group in groups[:2]] == [{"noise_scale": 0.1}, {"noise_scale": 0.2}]
    key = tf.Key("continuous", "mean", 4, 8, "squared_error")
    whole = np.concatenate([one[key] for one in found.select(noise_scale=0.2).tables])
    assert groups[1].summary(key).mean == pytest.approx(whole.mean())
    tables = found.select(noise_scale=0.2).tables
    theory = [one.theory[one.keys.index(key)] for one in tables if one.theory is not None]
    assert groups[1].law(key) == pytest.approx(np.mean(theory))
    row = next(r for r in comparison(groups) if r["noise_scale"] == 0.2 and r["technique"] == "mean")
    assert (row["steps"], row["samples"], row["prompts"]) == (4, 8, 8)


def test_pictures(folder: Path) -> None:
    found = pictures(tf.load(folder))
    assert len({picture.name for picture in found}) == len(found)
    sorts = {picture.name.partition("-")[0] for picture in found}
    assert sorts == {"samples", "thoughts", "compute", "map", "noise_scale"}
    by_noise = next(picture for picture in found if picture.name == "noise_scale-1-continuous")
    figure, curves = by_noise.figure()
    assert figure.axes[0].get_xlabel() == "noise scale"
    mean = next(curve for curve in curves if curve.label == "mean")
    assert mean.x == [0.1, 0.2, 0.4]
    assert [point.mean for point in mean.points] == sorted(point.mean for point in mean.points)  # noise harms the mean


def test_settings_that_go_together_and_those_that_are_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(monkeypatch, 8)
    study = {
        "run": {**STUDY["run"], "coefficients": "both", "technique": ["mean"]},
        "grid": {"start": ["zero", "random"]},
        "zip": {"noise_scale": [0.1, 0.2, 0.4], "temperature": [0.5, 1.0, 2.0]},
    }
    swept(tmp_path, study=study)
    found = {picture.name: picture for picture in pictures(tf.load(tmp_path))}
    for axis, kind, values in (
        ("noise_scale", "continuous", [0.1, 0.2, 0.4]), ("temperature", "binary", [0.5, 1.0, 2.0]),
    ):  # fmt: skip
        assert found[f"{axis}-2-{kind}"].title == f"{kind}; start random"
        _, curves = found[f"{axis}-2-{kind}"].figure()
        assert [(curve.label, curve.x) for curve in curves] == [("mean", values)]
    figure, curves = found["start-3-continuous"].figure()
    assert [(curve.label, curve.x) for curve in curves] == [("zero", [1.0, 2.0, 4.0]), ("random", [1.0, 2.0, 4.0])]
    assert figure.axes[0].get_xlabel() == "thoughts"
    key = tf.Key("continuous", "mean", 4, 8, "squared_error")
    chosen = tf.load(tmp_path).select(start="random", noise_scale=0.4).table()
    assert curves[1].points[-1].mean == chosen[key].mean()


def test_plot(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(folder), "--to", str(tmp_path), "--only", "map-1-continuous"]) == 0
    assert (tmp_path / "map-1-continuous.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "map-1-continuous.png").read_bytes().startswith(b"\x89PNG")
    assert main(["plot", str(folder), "--only", "nothing"]) == 1
    assert "only: expected one of 'samples-1-continuous'" in capsys.readouterr().err


@pytest.mark.slow
def test_report(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(folder), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert len(text) < 5e6
    assert not re.search(r"(src|href)=[\"']?https?:|@import|url\((?!#)", text)
    for part in ("<title>ttc-fast: a &amp; b</title>", "# &lt;this&gt; is the study", "philox4x32-10/v1", "0.4"):
        assert part in text
    assert html.escape(f"ttc-fast sweep study.toml --out '{folder}'") in text
    assert text.count("<figure ") == len(pictures(tf.load(folder)))
    assert main(["report", str(folder), "-o", str(folder / "table.parquet")]) == 1
    assert "output: expected another file than those that are read" in capsys.readouterr().err


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.mark.slow
def test_page_in_a_browser(folder: Path, tmp_path: Path) -> None:
    """Narrow and wide, light and dark: no word on the console, no request, no sideways scrolling, no violation of
    accessibility that axe-core knows; values under the pointer, tables that sort."""
    api = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("there is no Chromium")
    page = tmp_path / "report.html"
    assert main(["report", str(folder), "-o", str(page), "--quiet"]) == 0
    with api.sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for width in (400, 1200):
                tab = program.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                said: list[str] = []
                tab.on("console", lambda message, said=said: said.append(message.text))
                tab.on("pageerror", lambda error, said=said: said.append(str(error)))
                tab.on("request", lambda request, said=said: said.append(request.url))
                tab.goto(page.as_uri())
                found = axe.Axe().run(tab).response["violations"]
                assert not found, json.dumps(found)[:2000]
                assert tab.evaluate("document.documentElement.scrollWidth") == width
                assert [one for one in said if not one.startswith((page.as_uri(), "data:"))] == []
                paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
                assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
        tab.locator("[data-tip]").first.scroll_into_view_if_needed()
        tab.locator("[data-tip]").first.dispatch_event("pointermove", {"bubbles": True, "clientX": 5, "clientY": 5})
        assert re.fullmatch(r"\w+, [\d.]+: [\d.e-]+ \(.* to .*\)", tab.locator("#tip").inner_text())
        region = tab.get_by_role("region", name="Comparison of the techniques")
        for order in (sorted, lambda values: sorted(values, reverse=True)):
            region.get_by_role("button", name="mean", exact=True).click()
            column = [name.inner_text() for name in region.locator("th").all()].index("mean")
            cells = region.locator(f"tbody td:nth-child({column + 1})").all()
            values = [float(cell.get_attribute("data-value") or "nan") for cell in cells]
            assert values == order(values)
        program.close()
