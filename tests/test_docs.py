"""Every block of code in README.md and docs/ is run, in the order of its page, or is listed with the reason why not.

What takes seconds is checked always: that commands and options exist, that Python and JSON can be parsed, and that no
block is forgotten. The runs themselves are slow ones: `pytest -m slow tests/test_docs.py`.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

import rt_flare.projects
from rt_flare.cli.app import app
from rt_flare.jobs.poc import PocDeployment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = {"text"}
"""What is shown and not typed."""

# Pages whose blocks belong together in a way of their own, and the test that runs them.
RUN_BY = {
    "docs/writing-a-plugin.md": "tests/test_writing_a_plugin.py",
    "docs/production.md": "tests/poc/test_real_deployment.py",  # several machines; there, one stands for all
    "docs/scale.md": "tests/benchmarks/test_scale.py",
}
# Beginning of a block of commands that is shown as text, since nobody can type it as it is, to the reason.
SHOWN = {
    "rt-flare import OLD_JOB": "OLD_JOB stands for a job of another program; tests/cli has one",
    "rt-flare shards upload my-photos": "the same command with a storage on loopback is in the README",
}
# Command to the reason why it is not run here.
NOT_RUN = {
    "python3 -m pip install uv && python3 -m uv run rt-flare quickstart": "installs from the package index; what it "
    "starts is run by tests/cli/test_quickstart_command.py",
    "python3 -m uv run pytest": "this suite, which .ci/run starts with the same words",
    "rt-flare --install-completion": "changes the start-up file of whoever runs it",
}
# Beginning of a command to its exit codes, where 0 is not the only good one.
EXIT_CODES = {
    "rt-flare stop": {0, 1, 4},  # the job has ended before it is asked
    "rt-flare cancel": {0, 1, 4},
    "rt-flare site check": {0, 1},  # a kit that was not installed as a site has findings
    "rt-flare timeouts lint": {0, 1},
    "rt-flare doctor PATH --job": {0, 1},
}


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: the page, from the repository's root on.
        line: of the page, where the block begins.
        language: as the page says.
        text: the code.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What is typed, without remarks and prompts."""
        if self.language == "console":
            return re.findall(r"^\$ (.+)$", self.text, re.MULTILINE)
        lines = [re.split(r"\s+#\s", line)[0].strip() for line in self.text.replace("\\\n", " ").splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def _blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page.relative_to(ROOT).as_posix(), text[: match.start()].count("\n") + 1, match[1], match[2])
        for match in BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in _blocks(page) if block.language not in OUTPUT]
COMMANDS = [(block, command) for block in BLOCKS if block.language in {"bash", "console"} for command in block.commands]
SHOWN_COMMANDS = [
    (block, command)
    for page in PAGES
    for block in _blocks(page)
    if block.language in OUTPUT
    for command in block.commands
    if command.startswith(("rt-flare ", "nvflare "))
]


@dataclass
class Place:
    """A folder in which pages are followed.

    Attributes:
        folder: where commands are typed.
        words: what a reader puts in the place of words in capitals, and names that pages take as given.
        environment: of the commands.
    """

    folder: Path
    words: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def follow(self, block: Block) -> None:
        """Do what the block says."""
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "python":
            script = self.folder / f"block_{block.line}.py"
            script.write_text(block.text)
            done = self.run(sys.executable, script.name)
            assert done.returncode == 0, f"{block.page}:{block.line}:\n{done.stdout}\n{done.stderr}"
        else:
            for command in block.commands:
                self._type(block, command)

    def _type(self, block: Block, command: str) -> None:
        if command in NOT_RUN:
            return
        typed = command
        for word, value in self.words.items():
            typed = re.sub(rf"(?<![\w./-]){re.escape(word)}(?![\w-])", value, typed)
        done = self.run(*shlex.split(typed))
        good = next((codes for start, codes in EXIT_CODES.items() if command.startswith(start)), {0})
        shown = f"{block.page}:{block.line}: {typed}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode in good, shown
        assert "Traceback" not in done.stderr, shown


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """What a reader has: pictures, a module, a deployment with a site's kit, and the programs."""
    folder = tmp_path_factory.mktemp("reader")
    for label, level in (("cat", 10), ("dog", 240)):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(9):
            Image.new("RGB", (8, 8), (level, level, number)).save(folder / "photos" / label / f"{number}.png")
    shutil.copy(Path(rt_flare.projects.__file__).parent / "images" / "model_def.py", folder / "model_def.py")
    with PocDeployment(folder / "deployment", ["site-1", "site-2", "site-3"]) as poc:
        yield Place(
            folder,
            words={
                "KIT...": str(poc.kit("site-1")),
                "KIT": str(poc.kit("site-1")),
                "JOB": "my-job",
                "PATH": "my-project/run",
                "ID": "simulate_job",
                "my-job-run": "my-project/run",
            },
            environment={
                "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(folder / "home"),
                "NVFLARE_STARTUP_KIT_DIR": str(poc.admin_kit),
                "COLUMNS": "200",
            },
        )


# In an order in which each finds what it takes as given; "" for pages that begin with nothing.
ORDER = {
    "README.md": "reader",
    "docs/check.md": "reader",
    "docs/reading-results.md": "reader",
    "docs/troubleshooting.md": "reader",
    "docs/sites.md": "reader",
    "docs/timeouts.md": "reader",
    "docs/jobs.md": "reader",
    "docs/first-job.md": "",
    "docs/own-data.md": "",
    "docs/migration.md": "",
}
STORIES = [page for page in ORDER if (ROOT / page).is_file()]


@pytest.mark.slow
@pytest.mark.poc
@pytest.mark.simulator
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", STORIES)
def test_the_blocks_of_a_page_work_in_their_order(page: str, place: Place, s3_server: Any, tmp_path: Path) -> None:
    """C5, N6: as a new user would, following the pages only."""
    place.environment |= s3_server.environment
    if not ORDER[page]:
        place = dataclasses.replace(place, folder=tmp_path / "newcomer", words={})
        place.folder.mkdir()
    if page == "docs/jobs.md":
        # The job of this page is called digits; that of the README names no data yet.
        sites = json.dumps({f"site-{number}": number for number in (1, 2, 3)})
        values = ["name=digits", "MIN_CLIENTS=3", "min_clients=3", "NUM_ROUNDS=1", "NUM_CLASSES=2", "IMG_SIZE=16"]
        values += [f"SHARDS_DIR={place.folder}/shards", f"DATA_DIR={place.folder}/data", f"SITE_SHARDS={sites}"]
        done = place.run("rt-flare", "job", "set", "my-job", *values)
        assert done.returncode == 0, done.stderr
    for block in _blocks(ROOT / page):
        if block.language not in OUTPUT:
            place.follow(block)


def test_every_block_is_run_or_listed() -> None:
    """C5: a new page, or a block in a language that nothing here runs, is noticed."""
    for block in BLOCKS:
        where = f"{block.page}:{block.line}"
        assert block.page in {*STORIES, *RUN_BY}, f"{where}: add the page to ORDER or RUN_BY"
        assert block.page in RUN_BY or block.language in {"bash", "console", "python", "json"}, where
    assert {path.relative_to(ROOT).as_posix() for path in PAGES} >= {"README.md", "docs/jobs.md"}
    assert all((ROOT / test).is_file() for test in RUN_BY.values())
    for block in {block for block, _ in SHOWN_COMMANDS if block.page not in RUN_BY}:
        assert block.commands[0].startswith(tuple(SHOWN)), f"{block.page}:{block.line}: commands that nobody runs"
    typed = {command for _, command in COMMANDS}
    assert set(NOT_RUN) <= typed
    assert all(any(command.startswith(start) for command in typed) for start in EXIT_CODES)
    assert all(len(reason) > 20 for reason in (*NOT_RUN.values(), *SHOWN.values()))


@pytest.mark.parametrize(
    ("block", "command"),
    [(block, command) for block, command in [*COMMANDS, *SHOWN_COMMANDS] if command.startswith("rt-flare ")],
    ids=lambda value: value if isinstance(value, str) else f"{value.page}:{value.line}",
)
def test_every_command_exists_with_its_options(block: Block, command: str) -> None:
    """N6: drift."""
    found: Any = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    while words and hasattr(found, "commands") and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    assert not hasattr(found, "commands") or words[0].startswith("--"), f"no such command: {command}"
    options = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options
    if "--format" in words:
        (choice,) = (parameter for parameter in found.params if "--format" in parameter.opts)
        assert words[words.index("--format") + 1] in {value.value for value in type(choice.default)}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_every_block_can_be_parsed(block: Block) -> None:
    """C5: in its language."""
    if block.language == "python":
        ast.parse(block.text)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "bash":
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, capture_output=True)
