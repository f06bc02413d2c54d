"""Dockerfile, docker-compose.yml and what is copied into images: what must hold of them, without an engine to ask."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
OTHERS = sorted(name for name, service in SERVICES.items() if "build" not in service)
ONCE = {"setup", "migrate", "mistral-migrate"}
OFFICIAL = re.compile(r"[a-z]+:\d+(\.\d+)*(-slim|-alpine)?")  # a name without a registry, and a tag that says a version
PASSWORD_VOLUMES = {"kept", "conductor", "executor", "mistral", "postgres", "rabbitmq", "redis"}


def stages() -> dict[str, list[str]]:
    """The instructions of each stage that has a name."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in re.sub(r"\\\n", "", DOCKERFILE).splitlines():
        if start := re.fullmatch(r"FROM \S+ AS (\S+)", line):
            current = found.setdefault(start[1], [])
        elif line and not line.startswith("#"):
            current.append(line)
    return found


def volumes(service: str) -> dict[str, str]:
    """The service's volumes: name → path and mode."""
    return dict(mount.split(":", 1) for mount in SERVICES[service].get("volumes", ()))


def test_it_is_made_of_the_parts_that_were_asked_for() -> None:
    parts = {"redis", "postgres", "rabbitmq", "mistral-api", "mistral-engine", "mistral-executor", "conductor"}
    assert set(SERVICES) == parts | ONCE
    assert SERVICES["conductor"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", OTHERS)
def test_the_images_of_others_are_official_ones_with_a_version(name: str) -> None:
    assert OFFICIAL.fullmatch(SERVICES[name]["image"])


def test_our_images_are_made_from_an_official_one_and_nothing_is_pinned_by_its_digest() -> None:
    assert OFFICIAL.fullmatch(re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.M)[0])
    from_ = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert set(from_) == {"${PYTHON_IMAGE}"}
    for text in (DOCKERFILE, (ROOT / "docker-compose.yml").read_text()):
        assert "sha256:" not in text
        assert not re.search(r"^#\s*syntax\s*=", text, re.M)


@pytest.mark.parametrize("name", OURS)
def test_each_of_our_services_builds_a_stage_that_is_not_root(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", next(i for i in stages()[service["build"]["target"]] if "USER" in i))
    assert "user" not in service


@pytest.mark.parametrize("name", OURS)
def test_each_of_our_services_writes_to_its_temporary_folder_alone_and_has_no_capability(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_whatever_keeps_running_has_a_health_check_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    own = "healthcheck" in service and not service["healthcheck"].get("disable")
    of_its_image = "build" in service and any(i.startswith("HEALTHCHECK") for i in stages()[service["build"]["target"]])
    assert own or of_its_image
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_health_check_uses_what_is_in_its_image(name: str) -> None:
    """Slim images have neither curl nor wget."""
    text = str(SERVICES[name].get("healthcheck", "")) + "".join(
        i for i in stages().get(SERVICES[name].get("build", {}).get("target", ""), []) if i.startswith("HEALTHCHECK")
    )
    assert not re.search(r"\b(curl|wget|nc|netcat)\b", text)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_takes_a_port_of_the_host_that_another_one_may_want(name: str) -> None:
    """Else a second of them, or a second installation, cannot start; and it is for this host alone."""
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1::\d+", port)
    assert "container_name" not in SERVICES[name]


@pytest.mark.parametrize("name", sorted(ONCE))
def test_what_runs_once_is_not_started_again(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"
    assert SERVICES[name]["healthcheck"] == {"disable": True}


def test_nothing_starts_before_what_it_cannot_do_without() -> None:
    def needs(name: str) -> set[tuple[str, str]]:
        return {(on, how["condition"]) for on, how in SERVICES[name].get("depends_on", {}).items()}

    done, healthy = "service_completed_successfully", "service_healthy"
    assert needs("setup") == set()
    for name in OTHERS:
        assert needs(name) == {("setup", done)}
    assert needs("migrate") == needs("mistral-migrate") == {("setup", done), ("postgres", healthy)}
    assert needs("conductor") == {("migrate", done), ("redis", healthy)}
    assert needs("mistral-api") == needs("mistral-engine") == {("mistral-migrate", done), ("rabbitmq", healthy)}
    assert needs("mistral-executor") == {("setup", done), ("rabbitmq", healthy), ("redis", healthy)}


def test_an_executor_reaches_neither_the_database_nor_what_others_know() -> None:
    assert set(volumes("mistral-executor")) == {"executor"}
    assert set(SERVICES["mistral-executor"]["networks"]) == {"bus", "redis", "outside"}
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert [name for name, network in COMPOSE["networks"].items() if not network.get("internal")] == ["outside"]


def test_only_setup_may_write_what_it_makes_and_each_part_sees_its_own() -> None:
    assert set(volumes("setup")) == PASSWORD_VOLUMES
    for name in set(SERVICES) - {"setup"}:
        seen = PASSWORD_VOLUMES & set(volumes(name))
        assert len(seen) == 1
        # nocopy: what an image has there must not come into the volume, nor the image's owner of it
        assert all(volumes(name)[volume].endswith(":ro,nocopy") for volume in seen)


def test_no_password_is_written_down() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert "PASS" not in variable or variable.endswith("_FILE"), (name, variable, value)


def test_redis_keeps_its_data_knows_its_users_and_has_the_limits_that_are_advised() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--aclfile"] == f"{volumes('redis')['redis'].partition(':')[0]}/users.acl"
    assert volumes("redis")["redis-data"] == "/data"
    conf = (ROOT / "deploy/redis/redis.conf").read_text()
    for option in ("--proto-max-bulk-len", "--client-query-buffer-limit", "--maxmemory", "--maxmemory-policy"):
        assert f"{option.removeprefix('--')} {options[option]}\n" in conf


def test_only_what_an_image_is_made_of_is_sent_to_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    wanted = {line[1:] for line in ignored if line.startswith("!")}
    copied = set()
    for instruction in re.findall(r"^COPY ((?!--from)[^\n]+)$", DOCKERFILE, re.M):
        copied |= {word for word in instruction.split()[:-1] if not word.startswith("--")}
    assert ignored[1] == "*"
    assert {"/".join(Path(path).parts[:2]) if path.startswith("deploy") else path for path in copied} == wanted
    assert all((ROOT / path).exists() for path in copied | wanted)


def test_compose_itself_can_read_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    command = [docker, "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
