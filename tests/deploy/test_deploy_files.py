"""deploy/: what an operator copies is read by what will read it, and says what the program is."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from kiff.cli import COMMANDS
from kiff.cli.settings import Settings, variable
from kiff.server.routes import ROUTES
from kiff.server.settings import DRAIN_SECONDS
from kiff.server.workers import KILL_SECONDS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "kiff.service"
CONTAINER = (DEPLOY / "Containerfile").read_text("utf-8").replace("\\\n", " ")
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OTHERS = {"KIFF_KEY"}
"""Variables that are no option's."""


def documents() -> list[dict[str, Any]]:
    """Every object of every manifest."""
    return [each for file in MANIFESTS for each in YAML(typ="safe").load_all(file.read_text("utf-8"))]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, pod spec) of whatever starts pods."""
    yield from ((each["kind"], each["spec"]["template"]["spec"]) for each in documents() if "template" in each["spec"])


def only(kind: str) -> dict[str, Any]:
    [found] = [each for each in documents() if each["kind"] == kind]
    return found


def said(instruction: str) -> list[str]:
    """What the container file says after each instruction of a name."""
    return re.findall(rf"^{instruction} +(.*)$", CONTAINER, re.MULTILINE)


def parsed(arguments: list[str]) -> click.Context:
    """One command line, read and not run.

    Raises:
        click.UsageError: KIFF does not understand it.
    """
    name, *rest = arguments
    if name not in COMMANDS:
        raise click.UsageError(f"no command {name}")
    command: click.Command = import_module(COMMANDS[name][0]).command
    with click.Context(click.Group("kiff")):
        return command.make_context(name, rest)


def unit() -> dict[str, str]:
    """Its [Service]; the last of several lines of one name."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def variables() -> set[str]:
    """Every KIFF_ variable that the program reads."""
    commands = (import_module(module).command for module, _ in COMMANDS.values())
    every = [each for one in commands for each in getattr(one, "commands", {"": one}).values()]
    options = (option for command in every for option in command.params)
    return {str(option.envvar) for option in options if option.envvar} | set(map(variable, Settings._fields)) | OTHERS


# What KIFF itself reads


def test_a_command_line_that_kiff_does_not_understand_is_found() -> None:
    for wrong in (["sevre"], ["serve", "--worker", "2", "--no-such"], ["serve", "--workers", "none"]):
        with pytest.raises(click.UsageError):
            parsed(wrong)


def test_every_command_line_is_one_that_kiff_understands() -> None:
    lines = [shlex.split(unit()["ExecStart"])[1:], json.loads(said("CMD")[-1])]
    lines += [container["args"] for _, pod in pods() for container in pod["containers"]]
    assert [parsed(line).info_name for line in lines] == ["serve", "serve", "serve", "migrate"]
    assert json.loads(said("ENTRYPOINT")[-1]) == ["kiff"]


def test_every_variable_is_one_that_kiff_reads() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    found = {name for path in files for name in re.findall(r"\bKIFF_[A-Z_]+", path.read_text("utf-8"))}
    assert len(found) > 5
    assert found - variables() == set()


def test_probes_ask_what_the_server_answers_to_everybody() -> None:
    public = {route.path for route in ROUTES if route.access == "public" and route.method == "GET"}
    [container] = only("StatefulSet")["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert asked == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    assert set(asked.values()) <= public


def test_the_port_is_one_everywhere() -> None:
    [container] = only("StatefulSet")["spec"]["template"]["spec"]["containers"]
    ports = {each["containerPort"] for each in container["ports"]}
    ports |= {port["port"] for each in documents() if each["kind"] == "Service" for port in each["spec"]["ports"]}
    assert ports | set(map(int, said("EXPOSE"))) == {int(Settings().port)}


# Ending


def test_nobody_is_killed_before_what_is_in_work_is_answered() -> None:
    assert int(unit()["TimeoutStopSec"]) > KILL_SECONDS
    assert unit()["KillMode"] == "mixed"  # SIGTERM is for the parent
    pod = only("StatefulSet")["spec"]["template"]["spec"]
    before = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before + DRAIN_SECONDS


# What it may do


def test_every_pod_runs_as_nobody_and_writes_nowhere_else() -> None:
    for kind, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, kind
        assert pod["automountServiceAccountToken"] is False, kind
        for container in pod["containers"]:
            allowed = container["securityContext"]
            assert (allowed["readOnlyRootFilesystem"], allowed["allowPrivilegeEscalation"]) == (True, False), kind
            assert allowed["capabilities"] == {"drop": ["ALL"]}, kind


def test_the_container_runs_as_the_user_that_the_pods_name() -> None:
    users = {pod["securityContext"]["runAsUser"] for _, pod in pods()}
    assert said("USER")[-1] == "10001:10001"
    assert users == {10_001}


def test_secrets_are_named_and_not_written_down() -> None:
    stores = [env for _, pod in pods() for each in pod["containers"] for env in each["env"]]
    assert all("value" not in env for env in stores if env["name"] == "KIFF_STORE")
    text = "".join(path.read_text("utf-8") for path in DEPLOY.rglob("*") if path.is_file())
    assert set(re.findall(r"://[^/@\s]*:([^/@\s]*)@", text)) == {"CHANGE-ME"}


def test_images_are_named_without_a_place_to_fetch_them_from() -> None:
    images = [each["image"] for _, pod in pods() for each in pod["containers"]]
    images += [line.split(" AS ")[0] for line in said("FROM")]
    assert len(images) == 4
    assert not [image for image in images if "/" in image]


# What the platform reads


def test_every_selector_selects_the_replicas() -> None:
    labels = only("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    selectors = [each["spec"]["selector"] for each in documents() if "selector" in each["spec"]]
    assert len(selectors) == 4
    assert all(each.get("matchLabels", each) == labels for each in selectors)


def test_what_the_container_is_made_of_is_in_the_tree() -> None:
    sources = [part for line in said("COPY") if not line.startswith("--from") for part in line.split()[:-1]]
    assert len(sources) == 4
    assert all((ROOT / source).exists() for source in sources)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, a part of systemd")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text("utf-8").replace("/opt/kiff/bin/kiff", str(Path(sys.executable).with_name("kiff")))
    copy = tmp_path / UNIT.name
    for wrong, content in ((False, text), (True, text.replace("KillMode=mixed", "KillMode=mexid"))):
        copy.write_text(content, "utf-8")
        command = ["systemd-analyze", "verify", "--man=no", str(copy)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        complaints = [line for line in (ran.stdout + ran.stderr).splitlines() if UNIT.name in line]
        assert bool(complaints) == wrong, ran.stdout + ran.stderr
