"""What the README shows runs: its program word for word, its commands by name, its links to files that are there."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
from overfence_signalling import Node, NodeConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "embed.py"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PATIENCE_S = 60


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_program_shown_is_the_example() -> None:
    assert blocks("python") == [EXAMPLE.read_text(encoding="utf-8")]


async def test_the_program_shown_runs_against_a_real_node_and_runs_again(tmp_path: Path) -> None:
    program = tmp_path / "shown.py"
    program.write_text(blocks("python")[0], encoding="utf-8")
    async with Node.open(NodeConfig(data=tmp_path / "node")) as node:
        for _ in ("the first time", "with the homes of the first time"):
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", program, node.url),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(PATIENCE_S):
                    said, complaints = await child.communicate()
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
            assert (child.returncode, complaints.decode()) == (0, "")
            assert said.decode() == "Ada holds it, and says: Come in!\n"


async def test_every_command_shown_is_there() -> None:
    shown = set(re.findall(r"^\$ (?:python3 dev\.py|overfence) (\w+)", "".join(blocks("console")), re.MULTILINE))
    assert {"demo", "test", "chat", "serve"} <= shown
    for arguments in (["dev.py", "--help"], ["-m", "overfence", "--help"]):
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await child.communicate()
        shown -= set(re.findall(r"[a-z]+", said.decode()))
    assert not shown, f"shown in the README, and in no help: {shown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
