"""The report of a real run, in a real browser without a network."""

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from notus import report
from tests.helpers.browser import chromium

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 420])
def test_the_report_is_drawn_without_complaint(tiny_run, tmp_path, width):
    page, picture = tiny_run / "report.html", tmp_path / "page.png"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/profile", f"--window-size={width},1600"]
    shot = subprocess.run(
        [*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert picture.stat().st_size > 20_000
    complaints = [line for line in shot.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints
    dom = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120).stdout
    assert dom.count("<svg") >= 8
    assert "A tiny run" in dom


@pytest.mark.slow
def test_what_is_wider_than_the_window_shows_that_it_scrolls(tmp_path):
    """A shadow at the edge behind which more lies, none at an end; a picture says it in words."""
    image_of = pytest.importorskip("PIL.Image", reason="Pillow is not installed").open
    style = (Path(report.__file__).parent / "templates" / "report.css").read_text()
    table = (
        '<div class="block"><div class="scroll"><table style="width:{}px"><tr><td>&nbsp;</td></tr></table></div></div>'
    )
    figure = '<figure class="block"><div class="scroll"><svg viewBox="0 0 900 90"></svg></div></figure>'
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><style>{style}</style><main>{table.format(900)}{table.format(100)}{figure}</main>")
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 420, "height": 700}, color_scheme="light")
        tab.goto(page.as_uri())

        def edges(number):
            """The lightness of a table's box two pixels within its left and its right border; paper is 255."""
            box = tab.locator(".scroll").nth(number)
            height, image = box.bounding_box()["height"], image_of(io.BytesIO(box.screenshot())).convert("L")
            return [image.getpixel((at, round(height / 2))) for at in (3, image.width - 4)]

        left, right = edges(0)
        assert left == 255
        assert right < 230
        tab.evaluate("document.querySelector('.scroll').scrollLeft = 9999")
        left, right = edges(0)
        assert left < 230
        assert right == 255
        assert edges(1) == [255, 255]
        said = "getComputedStyle(document.querySelector('figure .scroll'), '::before').content"
        assert "scroll it sideways" in tab.evaluate(said)
        tab.set_viewport_size({"width": 1280, "height": 700})
        assert tab.evaluate(said) == "none"
