"""What is installed is whole and stands alone; what is edited in the checkout is what runs from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("overfence", "overfence_reliability", "overfence_signalling")
ASK = f"[print(__import__(name).__file__) for name in {PACKAGES}]"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    copy = tmp_path / "source"
    unwanted = shutil.ignore_patterns(".*", "__pycache__")
    for name in ("reliability", "signalling", "peer", "web"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "web").mkdir(exist_ok=True)
    (copy / "web" / "planted.html").write_text("planted")
    return copy


def unpacked(source: Path, kind: str) -> Path:
    """The files a wheel of that kind (standard or editable) would put into site-packages."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", f"wheel:{kind}", "--directory", "../built"]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=60)
    (wheel,) = (source.parent / "built").glob("*.whl")
    site = source.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_a_wheel_carries_all_packages_and_the_pages(source: Path) -> None:
    site = unpacked(source, "standard")
    assert (site / "overfence_web" / "planted.html").read_text() == "planted"
    assert all((site / name / "py.typed").exists() for name in PACKAGES)
    assert next(site.glob("*.dist-info/licenses/LICENSE")).stat().st_size > 10_000
    asked = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=source.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert asked.stdout.splitlines()[:3] == [str(site / name / "__init__.py") for name in PACKAGES]


def test_an_editable_install_points_at_the_checkout_and_copies_nothing(source: Path) -> None:
    site = unpacked(source, "editable")
    (pth,) = site.glob("*.pth")
    assert {Path(line) for line in pth.read_text().split()} == {
        source / name for name in ("reliability", "signalling", "peer")
    }
    assert [path for path in site.iterdir() if path != pth and not path.name.endswith(".dist-info")] == []
