"""Who may import whom, how large a module and a function may be, and what the code location may cost to load."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.architecture.draw import PAGE, drawn
from tests.architecture.imports import ROOT, STAGES, graph, rank

HEAVY = ("torch", "lightning", "great_expectations", "mlflow", "transformers", "cv2", "av", "matplotlib", "dagster_aws")
LOAD_RATIO = 2.6  # of the CPU time that Dagster and dagster-dbt take alone, which no code location of theirs is without
MOST_LINES, MOST_PARAMETERS = 400, 6
PARSING_CPU_S = 10.0  # a load that takes longer has parsed the dbt project


# loaded only where they are used, so that the code location and the command line start in seconds
DEFERRED = {*HEAVY, "boto3", "c2pa", "dagster", "dagster_dbt", "dbt", "duckdb", "numba", "pandas", "pyarrow", "ray"}


def importing(package: str, *tops: str) -> list[str]:
    """The modules of `package` that import any of these libraries or packages, wherever in the file."""
    return sorted(name for name in graph().files if name.split(".")[0] == package and graph().tops[name] & set(tops))


def test_no_module_imports_from_a_later_stage() -> None:
    assert [str(item) for item in graph().imports if rank(item.target) > rank(item.module)] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert graph().circles() == []


def test_an_import_inside_a_function_is_of_a_module_that_loads_a_heavy_library() -> None:
    needless = [
        str(item)
        for item in graph().imports
        if item.deferred and not (graph().loads(item.target) - graph().loads(item.module)) & DEFERRED
    ]
    assert needless == []


def test_no_module_is_longer_than_is_read_in_one_sitting() -> None:
    long = {name: len(path.read_text().splitlines()) for name, path in graph().files.items()}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_no_function_has_more_parameters_than_a_reader_can_hold() -> None:
    """Beyond that a dataclass names them. The options of a command are what a person types, so they are apart."""
    crowded = []
    for name, path in graph().files.items():
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and not is_command(function):
                arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                parameters = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
                crowded += [f"{name}.{function.name}"] if len(parameters) > MOST_PARAMETERS else []
    assert sorted(crowded) == []


def is_command(function: ast.FunctionDef) -> bool:
    """Whether typer reads the parameters: each is annotated with what a person may type there."""
    return any("typer" in ast.dump(argument.annotation) for argument in function.args.args if argument.annotation)


def test_the_rule_sees_what_it_is_there_for() -> None:
    sample = graph().imports
    assert any(item.deferred for item in sample), "heavy libraries are loaded late somewhere"
    assert "torch" in graph().loads("training.sampling.sampler")
    assert {rank(f"assets.{stage}") for stage in STAGES}.isdisjoint({rank("assets.home"), rank("training")})


def test_the_drawing_in_architecture_md_shows_the_imports_as_they_are() -> None:
    assert drawn(PAGE.read_text()) == PAGE.read_text(), "run `python -m tests.architecture.draw`"


@pytest.mark.parametrize("package", ["training", "expectations"])
def test_training_and_expectations_never_import_dagster(package: str) -> None:
    assert importing(package, "dagster", "dagster_dbt", "dagster_aws") == []


def test_training_runs_on_a_bare_node_without_registry_warehouse_or_platform() -> None:
    libraries = ("mlflow", "duckdb", "dbt", "great_expectations", "pandas")
    assert importing("training", *libraries, "assets", "orchestration", "expectations") == []
    assert importing("training", "cv2") == ["training.networks"]  # in a function: a node without it measures less


def test_expectations_import_nothing_of_the_platform() -> None:
    assert importing("expectations", "assets", "orchestration", "training") == []


def test_within_a_stage_only_its_assets_and_checks_know_dagster() -> None:
    shared = {"assets.pages.metadata", "assets.partitions", "assets.warehouse.project"}
    modules = set(importing("assets", "dagster", "dagster_dbt")) - shared
    assert [name for name in sorted(modules) if name.rpartition(".")[2] not in {"assets", "checks"}] == []


def answer(program: str, *variables: str) -> dict[str, object]:
    """What a fresh process prints as JSON; of the environment it has these variables only."""
    env = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", *variables}}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


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
    return answer(program, "VIRTUAL_ENV", "TMPDIR", "RUSHES_HOME")


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
variables = {"dbt": "DBT_SEND_ANONYMOUS_USAGE_STATS", "gx": "GX_ANALYTICS_ENABLED"}
print(json.dumps({"mlflow": is_telemetry_disabled()} | {name: os.environ[key] for name, key in variables.items()}))
"""
    state = answer(program)
    assert state["mlflow"] is True
    assert state["dbt"] == "False"
    assert state["gx"] == "false"
    instance = yaml.safe_load((ROOT / "orchestration/instance/dagster.yaml").read_text())
    assert instance["telemetry"]["enabled"] is False
    project = yaml.safe_load((ROOT / "dbt_project/dbt_project.yml").read_text())
    assert project["flags"]["send_anonymous_usage_stats"] is False
