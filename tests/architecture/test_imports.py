"""Who may import whom, and what the code location may cost to load."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("orchestration", "assets", "training", "expectations")
STAGE_DAGSTER_FILES = {"assets.py", "checks.py"}
SHARED_DAGSTER_FILES = {"assets/pages/metadata.py", "assets/partitions.py"}
HEAVY = ("torch", "lightning", "great_expectations", "mlflow", "transformers", "cv2", "av", "matplotlib", "dagster_aws")
LOAD_RATIO = 2.6  # of the CPU time that Dagster and dagster-dbt take alone, which no code location of theirs is without
PARSING_CPU_S = 10.0  # a load that takes longer has parsed the dbt project


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module name that the file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return names


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("package", ["training", "expectations"])
def test_training_and_expectations_never_import_dagster(package: str) -> None:
    offenders = [path for path in modules(package) if roots(path) & {"dagster", "dagster_dbt", "dagster_aws"}]
    assert offenders == []


def test_training_runs_on_a_bare_node_without_registry_warehouse_or_platform() -> None:
    forbidden = {
        "mlflow",
        "duckdb",
        "dbt",
        "great_expectations",
        "cv2",
        "pandas",
        "assets",
        "orchestration",
        "expectations",
    }
    offenders = {str(path): roots(path) & forbidden for path in modules("training") if roots(path) & forbidden}
    assert offenders == {}


def test_expectations_import_nothing_of_the_platform() -> None:
    assert [p for p in modules("expectations") if roots(p) & {"assets", "orchestration", "training"}] == []


def test_assets_never_import_orchestration() -> None:
    assert [path for path in modules("assets") if "orchestration" in roots(path)] == []


def test_within_a_stage_only_its_assets_and_checks_know_dagster() -> None:
    offenders = [
        path.relative_to(ROOT).as_posix()
        for path in modules("assets")
        if roots(path) & {"dagster", "dagster_dbt"}
        and path.name not in STAGE_DAGSTER_FILES
        and path.relative_to(ROOT).as_posix() not in SHARED_DAGSTER_FILES | {"assets/warehouse/project.py"}
    ]
    assert offenders == []


def run_python(program: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def load_location(*, code: str = "import orchestration.definitions") -> dict[str, object]:
    """Import the code location in a fresh process with no network and no secret; what it loaded and what it cost."""
    program = f"""
import json, resource, socket, sys
def refuse(*args, **kwargs):
    raise RuntimeError("the code location opened a socket while it was imported")
socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
{code}
used = resource.getrusage(resource.RUSAGE_SELF)
loaded = sorted({{name.split(".")[0] for name in sys.modules}})
print(json.dumps({{"modules": loaded, "cpu_s": used.ru_utime + used.ru_stime}}))
"""
    keep = {"PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR", "RUSHES_HOME"}
    env = {name: value for name, value in os.environ.items() if name in keep}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    os.environ["RUSHES_HOME"] = str(tmp_path_factory.mktemp("home"))
    try:
        first = load_location()  # it may have to parse the dbt project; the next one finds its manifest
        return first if float(first["cpu_s"]) < PARSING_CPU_S else load_location()  # type: ignore[arg-type]
    finally:
        del os.environ["RUSHES_HOME"]


def test_the_code_location_loads_without_network_secrets_or_heavy_libraries(location: dict[str, object]) -> None:
    assert set(HEAVY) & set(location["modules"]) == set()  # type: ignore[call-overload]


def test_the_code_location_loads_at_little_more_than_the_cost_of_dagster_and_dbt(location: dict[str, object]) -> None:
    # The least of several readings: what else runs on the machine slows both, and adds to single ones.
    ours, theirs = [float(location["cpu_s"])], list[float]()  # type: ignore[arg-type]
    for _ in range(3):
        theirs.append(float(load_location(code="import dagster, dagster_dbt")["cpu_s"]))  # type: ignore[arg-type]
        if min(ours) <= LOAD_RATIO * min(theirs):
            return
        ours.append(float(load_location()["cpu_s"]))  # type: ignore[arg-type]
    assert min(ours) <= LOAD_RATIO * min(theirs)


def test_telemetry_is_off_by_default_for_every_tool() -> None:
    program = """
import json, os, sys
sys.modules.pop("orchestration.settings", None)
from orchestration.settings import be_quiet
be_quiet()
from mlflow.telemetry.utils import is_telemetry_disabled
print(json.dumps({"mlflow": is_telemetry_disabled(), "env": dict(os.environ)}))
"""
    env = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["mlflow"] is True
    assert found["env"]["DBT_SEND_ANONYMOUS_USAGE_STATS"] == "False"
    assert found["env"]["GX_ANALYTICS_ENABLED"] == "false"
    import yaml

    instance = yaml.safe_load((ROOT / "orchestration/instance/dagster.yaml").read_text())
    assert instance["telemetry"]["enabled"] is False
    project = yaml.safe_load((ROOT / "dbt_project/dbt_project.yml").read_text())
    assert project["flags"]["send_anonymous_usage_stats"] is False
