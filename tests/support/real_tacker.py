"""A real Tacker on this machine: server and conductor, over RabbitMQ and MariaDB, with a Keystone that knows its users.

What it stores is its own: database, folders and exchange have names of their own and are removed at the end. The
queues' names are fixed by Tacker; they are removed where no other Tacker uses them.
"""

import secrets
import subprocess
import sys
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.error import HTTPError
from urllib.request import urlopen

from amqp.exceptions import NotFound, PreconditionFailed  # type: ignore[import-untyped]  # has no type hints

from tests.support.keystone import Keystone
from tests.support.services import broker, fresh_mariadb_database, service_url
from vimmon.embedded.process import Child, free_port
from vimmon.embedded.server import Started

START_TIMEOUT_S = 90.0
TOPICS = ("TACKER_CONDUCTOR", "TACKER_CONDUCTOR_V2", "TACKER_PROMETHEUS_PLUGIN")
SERVICE_TYPE = "nfv-orchestration"
CONFIG = """\
[DEFAULT]
transport_url = {transport_url}
control_exchange = {name}
bind_host = 127.0.0.1
bind_port = {port}
host = {name}
api_paste_config = {paste}
state_path = {folder}/state
crypt_key_dir = {folder}/crypt-keys
graceful_shutdown_timeout = 1

[oslo_messaging_rabbit]
rabbit_transient_queues_ttl = 30

[oslo_messaging_notifications]
driver = {notifications}

[database]
connection = {database}

[keystone_authtoken]
auth_type = password
auth_url = {auth_url}
www_authenticate_uri = {auth_url}
username = {user}
password = {password}
project_name = {project}
user_domain_name = Default
project_domain_name = Default

[vim_keys]
openstack = {folder}/vim-keys

[coordination]
backend_url = file://{folder}/coordination

[glance_store]
default_store = file
filesystem_store_datadir = {folder}/packages

[vnf_package]
vnf_package_csar_path = {folder}/csar
"""


def tacker_missing() -> str | None:
    """Why there is no Tacker to test with; None if there is."""
    if find_spec("tacker") and find_spec("tackerclient") and find_spec("openstackclient"):
        return None
    return "tacker and its client are not installed: pip install 'vimmon[tacker]'"


class Tacker(Started):
    """Answers on 127.0.0.1 for as long as the context lasts; `keystone` must answer when it starts.

    With `notifications` it sends oslo's notifications, as `messagingv2`.
    """

    def __init__(self, folder: Path, keystone: Keystone, *, notifications: bool = False) -> None:
        self.port = free_port()
        self.keystone = keystone
        self.server: Child
        self.conductor: Child
        self.database_url = ""
        self._folder = folder.absolute()
        self._notifications = "messagingv2" if notifications else "noop"
        self._name = f"vimmon-test-{secrets.token_hex(6)}"
        self._stack = ExitStack()

    @property
    def vim_keys(self) -> Path:
        """The folder of the keys that VIMs' passwords are encrypted with; one file for each VIM, named by its id."""
        return self._folder / "vim-keys"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it, enter it in the catalogue, and return when it answers. ServerDidNotStart if it does not."""
        for name in ("state", "vim-keys", "crypt-keys", "coordination", "packages", "csar"):
            (self._folder / name).mkdir(parents=True)
        with ExitStack() as stack:
            self.database_url = stack.enter_context(fresh_mariadb_database())
            self._broker = stack.enter_context(broker())
            stack.callback(self._remove_queues)
            config = self._write_config()
            self._make_tables(config)
            self.server = self._launch(stack, "tacker-server", config)
            self.conductor = self._launch(stack, "tacker-conductor", config)
            self.keystone.add_service(SERVICE_TYPE, self.url)
            self.server.wait_ready(self._answers, START_TIMEOUT_S)
            self.conductor.wait_ready(self._listens, START_TIMEOUT_S)
            self._stack = stack.pop_all()
        return self

    def stop(self) -> None:
        self._stack.close()

    def _launch(self, stack: ExitStack, program: str, config: Path) -> Child:
        child = Child(program, [_program(program), "--config-file", str(config)], self._folder)
        stack.callback(child.stop)
        stack.callback(child.kill)  # what it leaves is removed anyway
        return child

    def _write_config(self) -> Path:
        user = self.keystone.add_user(f"tacker-{self._name}", f"service-{self._name}", "admin")
        config = self._folder / "tacker.conf"
        config.write_text(
            CONFIG.format(
                transport_url=service_url("VIMMON_TEST_RABBITMQ_URL").replace("amqp://", "rabbit://", 1),
                name=self._name,
                port=self.port,
                paste=Path(sys.prefix) / "etc" / "tacker" / "api-paste.ini",
                folder=self._folder,
                notifications=self._notifications,
                database=self.database_url,
                auth_url=user["OS_AUTH_URL"],
                user=user["OS_USERNAME"],
                password=user["OS_PASSWORD"],
                project=user["OS_PROJECT_NAME"],
            )
        )
        return config

    def _make_tables(self, config: Path) -> None:
        command = [_program("tacker-db-manage"), "--config-file", str(config), "upgrade", "head"]
        subprocess.run(command, check=True, capture_output=True, timeout=START_TIMEOUT_S)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/v1.0/vims", timeout=5):
                return True
        except HTTPError as refusal:  # nobody without a token; but it is there
            return refusal.code == 401
        except OSError:
            return False

    def _listens(self) -> bool:
        with self._broker.channel() as channel:
            try:
                return bool(channel.queue_declare(f"{TOPICS[0]}.{self._name}", passive=True).consumer_count)
            except NotFound:
                return False

    def _remove_queues(self) -> None:
        for topic in TOPICS:
            for queue, shared in ((f"{topic}.{self._name}", False), (topic, True)):
                with self._broker.channel() as channel, suppress(NotFound, PreconditionFailed):
                    channel.queue_delete(queue, if_unused=shared)
        with self._broker.channel() as channel, suppress(NotFound):
            channel.exchange_delete(self._name)


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)
