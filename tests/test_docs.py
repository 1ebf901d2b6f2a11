"""The pages and docstrings: what they describe exists and runs."""

import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import pyfastlr
from pyfastlr.optimizers import options

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def page_id(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_index_names_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"index.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def test_readme_names_every_page_and_part():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {page.name for page in ROOT.glob("docs/*.md") if f"(docs/{page.name})" not in text} == set()
    for part in ("pyfastlr.kernels", "S.torch", "convention", "## What is not there yet"):
        assert part in text


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_to_install_work_from_a_clone(page):
    """The package is not on an index, so pip cannot find it by name alone."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    commands = [block for language, block in blocks if language in ("", "sh")]
    assert [block for block in commands if re.search(r'pip install [^&\n]*[ "]pyfastlr', block)] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks_are_doctests(page):
    """The doctest runner only sees prompts, so code without them would never run."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [block for block in blocks if not block.startswith(">>> ")] == []


PUBLIC = {
    f"{module.__name__}.{name}": item
    for module in (pyfastlr, pyfastlr.schedules, pyfastlr.tune)
    for name in module.__all__
    if inspect.isclass(item := getattr(module, name)) or inspect.isroutine(item)
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring_with_an_example(name):
    assert ">>> " in (PUBLIC[name].__doc__ or "")


@pytest.mark.parametrize("cls", pyfastlr.optimizers.registry, ids=lambda cls: cls.__name__)
def test_help_explains_every_argument_in_the_order_of_the_signature(cls):
    for doc in (cls.__doc__, options.documented(cls)):  # Python 3.13 removes the indent, as here
        listed = re.findall(r"^(\w+) : ", doc.partition("\nRaises\n------\n")[0], re.MULTILINE)
        assert listed == list(inspect.signature(cls).parameters)


@pytest.mark.parametrize("cls", pyfastlr.optimizers.registry, ids=lambda cls: cls.__name__)
def test_help_names_only_the_decays_and_conventions_of_the_class(cls):
    parameters = inspect.signature(cls).parameters
    for name, has, lacks in [
        ("decay", cls.decays, {"coupled", "decoupled", "independent"} - {*cls.decays}),
        ("convention", list(cls.conventions), {"torch", "keras", "optax"} - {*cls.conventions}),
    ]:
        kind = "{" + ", ".join(f'"{x}"' for x in has) + "}"
        entry = re.search(rf"^{name} : {kind}\n((?:    .+\n)+)", cls.__doc__, re.MULTILINE)
        assert entry, name
        assert parameters[name].annotation == kind
        assert [x for x in lacks if f'"{x}"' in entry[1]] == []
        assert name != "decay" or all(f'"{x}"' in entry[1] for x in has)
    (text,) = re.findall(r"^convention : .+\n((?:    .+\n)+)", cls.__doc__, re.MULTILINE)
    text = " ".join(text.split())
    assert (f'The default is "{next(iter(cls.conventions))}".' in text) == (len(cls.conventions) > 1)
    assert ('With "optax", `lr` must be given.' in text) == ("optax" in cls.conventions)


@pytest.mark.parametrize(
    ("name", "last"), [("demo", "pyfastlr demo --plot demo.png"), ("test", "python -m pytest -n auto")]
)
def test_readme_command_is_what_ci_runs(name, last):
    printed = subprocess.run(
        [sys.executable, ROOT / "scripts" / "readme_commands.py", name], capture_output=True, text=True, check=True
    )
    (line,) = printed.stdout.splitlines()
    assert line.startswith("python3 -m venv ")
    assert line.endswith(last)
    assert re.search(rf"^readme {name}\b", CI, re.MULTILINE)


def test_readme_tables_are_those_of_the_cases():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    render = runpy.run_path(str(ROOT / "scripts" / "readme_tables.py"))["render"]
    assert render(text) == text
    assert render(text.replace("| `Lion` |", "| `Tiger` |")) == text
    with pytest.raises(ValueError, match="need a section"):
        render("no table here")


def test_pre_commit_hooks_are_commands_of_ci():
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(hooks) == 3
    assert set(hooks) <= set(CI.splitlines())


def test_every_pin_is_exact():
    pins = [
        line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\d.]+(post\d+)?", pin)] == []
    assert {"numba", "numpy", "torch", "jax", "optax", "keras", "pytest"} <= {pin.partition("==")[0] for pin in pins}


def test_every_optimizer_and_family_is_imported():
    """If not: python scripts/exports.py."""
    script = runpy.run_path(str(ROOT / "scripts" / "exports.py"))
    for path, render in script["FILES"].items():
        text = path.read_text(encoding="utf-8")
        assert render(text) == text
        repaired = render(text.replace("Lion", "Tiger").replace("lion", "tiger"))
        assert sorted(re.findall(r"\w+", repaired)) == sorted(re.findall(r"\w+", text))
