"""Sessions with an OpenStack cloud: as the standard `OS_*` variables say, or a cloud that clouds.yaml names."""

from collections.abc import Mapping
from typing import Any

from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session

from vimmon.errors import SettingsError


def open_session(environ: Mapping[str, str], *, timeout_s: float) -> Session:
    """A session as `OS_*` say; without `OS_AUTH_URL` one that shows no token. Nothing is asked yet.

    Raises SettingsError for variables from which no login can be made.
    """
    if not environ.get("OS_AUTH_URL"):
        return Session(timeout=timeout_s)
    try:
        loader: Any = loading.get_plugin_loader(environ.get("OS_AUTH_TYPE", "password"))
        options = {option.dest: _os_value(environ, option) for option in loader.get_options()}
        auth = loader.load_from_options(**{dest: value for dest, value in options.items() if value is not None})
    except (keystone_exceptions.MissingRequiredOptions, keystone_exceptions.NoMatchingPlugin) as error:
        raise SettingsError(f"OS_*: {error}", remedy="Set them as for the openstack command") from None
    verify = environ.get("OS_CACERT") or environ.get("OS_INSECURE", "").lower() not in ("1", "true", "yes")
    return Session(auth=auth, verify=verify, timeout=timeout_s)


def endpoint(session: Session, environ: Mapping[str, str], *, service_type: str) -> str | None:
    """Where the catalogue says that the service is. Raises keystoneauth1's own errors."""
    url = session.get_endpoint(
        service_type=service_type,
        region_name=environ.get("OS_REGION_NAME"),
        interface=environ.get("OS_INTERFACE") or environ.get("OS_ENDPOINT_TYPE") or "public",
    )
    return None if url is None else str(url)


def roles(session: Session) -> frozenset[str] | None:
    """The roles of the token that the session shows; None where it has none of Keystone's. Raises keystoneauth1's own
    errors."""
    if not isinstance(session.auth, BaseIdentityPlugin):
        return None
    return frozenset(session.auth.get_access(session).role_names or ())


def open_cloud(name: str, *, timeout_s: float) -> tuple[Session, dict[str, str]]:
    """A session with a cloud of clouds.yaml, and what `endpoint` needs to know of it. Raises SettingsError."""
    try:
        from openstack import exceptions
        from openstack.config import OpenStackConfig
    except ImportError:
        raise SettingsError("clouds.yaml cannot be read", remedy="pip install openstacksdk") from None
    try:
        cloud = OpenStackConfig().get_one(cloud=name)
        session = cloud.get_session()
    except (exceptions.SDKException, keystone_exceptions.ClientException) as error:
        raise SettingsError(
            f"the cloud {name!r} of clouds.yaml: {error}", remedy="Try it: openstack --os-cloud NAME token issue"
        ) from None
    session.timeout = timeout_s
    region = {"OS_REGION_NAME": cloud.region_name} if cloud.region_name else {}
    return session, {**region, "OS_INTERFACE": str(cloud.get_interface() or "public")}


def _os_value(environ: Mapping[str, str], option: Any) -> str | None:
    names = [option.name, *(deprecated.name for deprecated in option.deprecated)]
    for name in names:
        if value := environ.get("OS_" + name.upper().replace("-", "_")):
            return value
    return None
