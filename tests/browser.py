"""Headless Chromium for tests of the report: open a page, let a script look around in it, take a picture."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on this machine; `make test` as root installs it on Debian, as does apt-get install chromium",
)

# before anything of the page runs: whatever a console would show as an error is kept
_CATCH = """<head><script>
window.caught = [];
window.addEventListener('error', event => window.caught.push(String(event.message)), true);
window.addEventListener('unhandledrejection', event => window.caught.push(String(event.reason)));
for (const kind of ['error', 'warn']) console[kind] = (...words) => window.caught.push(words.join(' '));
</script>"""
_LOOK = """<script>
window.addEventListener('load', () => {
  const found = {};
  try { %s } catch (error) { window.caught.push(String(error)); }
  found.errors = window.caught;
  const out = document.createElement('pre');
  out.id = 'probe'; out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script></body>"""


def browse(*arguments: str) -> str:
    """What Chromium prints; it has to end well and to have nothing to say on its console."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, *arguments], capture_output=True, text=True, check=False, timeout=180
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not told, told
    return done.stdout


def looked(page: Path, script: str, width: int = 1200) -> dict[str, Any]:
    """Open a copy of a page beside it, run `script`, which fills the object `found`, and give that back."""
    text = page.read_text(encoding="utf-8")
    copy = page.with_name(f"looked-at-{page.name}")
    copy.write_text(text.replace("<head>", _CATCH, 1).replace("</body>", _LOOK % script, 1), encoding="utf-8")
    try:
        told = browse(f"--window-size={width},900", "--dump-dom", copy.as_uri())
    finally:
        copy.unlink()
    match = re.search(r'<pre id="probe">(.*?)</pre>', told, re.S)
    assert match, told[-500:]
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    return found


def pictured(page: Path, picture: Path, *arguments: str) -> Any:
    """A picture of a page as an array (height, width, colours) from 0 to 1."""
    import matplotlib.image

    browse("--window-size=1200,1600", f"--screenshot={picture}", *arguments, page.as_uri())
    return matplotlib.image.imread(picture)[..., :3]
