"""The workflows of GitHub, checked here: valid, careful with rights and time, calling only what exists."""

import re
import subprocess
import sys

import pytest
from ruamel.yaml import YAML  # comes with check-jsonschema; reads `on` as a word

from coursekit.teaching import catalogue
from tests import oldest_versions
from tests.colab.environment import COLAB_PYTHON
from tests.forms import FORMS
from tests.test_packaging import PROJECT

FOLDER = catalogue.REPOSITORY / ".github" / "workflows"
PATHS = sorted(FOLDER.glob("*.yml"))
WORKFLOWS = {path.stem: YAML(typ="safe").load(path) for path in PATHS}
JOBS = {f"{name}-{key}": job for name, flow in WORKFLOWS.items() for key, job in flow["jobs"].items()}
MATRIX = "${{ matrix.python }}"


@pytest.fixture(params=JOBS)
def job(request):
    return JOBS[request.param]


def scripts(job) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def pythons(job) -> list[str]:
    """Return the versions of Python that a job sets up."""
    asked = [step.get("with", {}).get("python-version") for step in job["steps"]]
    matrix = job.get("strategy", {}).get("matrix", {})
    several = matrix.get("python") or [one["python"] for one in matrix.get("include", [])]
    return [version for one in asked if one for version in (several if one == MATRIX else [one])]


def valid(schema: str, *files) -> bool:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    told = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    print(told.stdout)
    return told.returncode == 0


def test_there_are_the_workflows_of_the_course():
    assert set(WORKFLOWS) == {"tests", "weekly", "site", "gpu", "link"}


def test_workflows_are_valid():
    assert valid("vendor.github-workflows", *PATHS)


def test_citation_is_valid():
    assert valid("vendor.citation-file-format", catalogue.REPOSITORY / "CITATION.cff")


def test_a_workflow_with_a_misspelt_key_is_not_valid(tmp_path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(PATHS[0].read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    assert not valid("vendor.github-workflows", wrong)


def test_every_job_ends_in_an_hour(job):
    assert 1 <= job["timeout-minutes"] <= 60


def test_workflows_may_only_read_unless_a_job_says_more():
    assert all(flow["permissions"] == {"contents": "read"} for flow in WORKFLOWS.values())
    more = {name: dict(job["permissions"]) for name, job in JOBS.items() if "permissions" in job}
    assert more == {
        "link-link": {"contents": "write"},
        "site-deploy": {"pages": "write", "id-token": "write"},
        "weekly-report": {"issues": "write"},
    }


def test_make_targets_exist(job):
    targets = re.findall(
        r"^([a-z-]+):", (catalogue.REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    called = re.findall(r"\bmake ([a-z-]+)", "\n".join(scripts(job)))
    assert set(called) <= set(targets)


def test_scripts_are_valid_shell(job):
    for script in scripts(job):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, encoding="utf-8")


def test_no_script_is_put_together_from_values(job):
    assert [script for script in scripts(job) if "${{" in script] == []  # they come by the environment


def test_actions_are_githubs_own_in_one_major_version_each():
    used = {step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step}
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)
    assert len({action.split("@")[0] for action in used}) == len(used)


def test_pythons_are_those_that_are_promised(job):
    lowest = PROJECT["requires-python"].removeprefix(">=")
    newest = ".".join(map(str, COLAB_PYTHON))
    assert set(pythons(job)) <= {lowest, newest}


def test_tests_run_on_the_oldest_python_and_on_colabs():
    newest = ".".join(map(str, COLAB_PYTHON))
    assert pythons(JOBS["tests-lessons"]) == [PROJECT["requires-python"].removeprefix(">="), newest]
    assert pythons(JOBS["tests-forms"]) == [newest]


def test_windows_and_macos_install_by_the_words_of_the_readme_and_run_lessons():
    job = JOBS["tests-systems"]
    assert set(job["strategy"]["matrix"]["system"]) == {"windows-latest", "macos-latest"}
    install, *runs = scripts(job)
    assert f"\n{install}\n" in (catalogue.REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert all(re.match(r"python -m \w+", script) for script in runs)  # no make there, no shell of its own
    assert "python -m tests lessons 01 03 --form student" in runs


def test_lessons_are_chosen_where_the_history_is_at_hand():
    chosen = [name for name, job in JOBS.items() if any("TODAY" in script for script in scripts(job))]
    assert chosen == ["tests-forms"]
    checkout = JOBS["tests-forms"]["steps"][0]
    assert checkout["with"]["fetch-depth"] == 0


def test_every_week_all_lessons_run_in_all_forms():
    weekly = "\n".join(
        script for name, job in JOBS.items() if name.startswith("weekly") for script in scripts(job)
    )
    run = [
        form for forms in re.findall(r'make test-lessons FORMS="?([a-z ]+)', weekly) for form in forms.split()
    ]
    assert sorted(run) == sorted(set(FORMS) - {"student"})
    assert "make test\n" in weekly


def test_oldest_versions_go_to_the_oldest_python():
    (row,) = [
        one for one in JOBS["weekly-lessons"]["strategy"]["matrix"]["include"] if one["versions"] == "oldest"
    ]
    assert row["python"] == PROJECT["requires-python"].removeprefix(">=")


def test_the_weekly_report_waits_for_every_other_job():
    others = set(WORKFLOWS["weekly"]["jobs"]) - {"report"}
    assert set(JOBS["weekly-report"]["needs"]) == others
    results = str(JOBS["weekly-report"]["steps"][0]["env"])
    assert all(f"needs.{name}.result" in results for name in others)


def test_constraints_are_the_lower_bounds():
    project = {
        "dependencies": ["torch>=2.6", "numpy >= 2.0"],
        "optional-dependencies": {"test": ["pytest>=8"]},
    }
    assert oldest_versions.constraints(project) == ["torch==2.6", "numpy==2.0", "pytest==8"]


def test_every_requirement_has_a_lowest_version():
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in oldest_versions.constraints(PROJECT))


def test_no_workflow_names_a_repository():
    for path in PATHS:
        assert catalogue.repository_slug() not in path.read_text(encoding="utf-8"), path.name


def test_badges_show_workflows_that_exist():
    readme = (catalogue.REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"/actions/workflows/(\w+)\.yml/badge\.svg", readme)
    assert shown
    assert set(shown) <= set(WORKFLOWS)
