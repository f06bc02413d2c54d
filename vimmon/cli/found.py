"""How the outcome of one probe is shown."""

from rich.text import Text

from vimmon.asks import Found
from vimmon.cli.output import rfc3339, show_fields, status_text

PHASES = {
    "turn_ms": "waited for its turn",
    "name_ms": "name",
    "connect_ms": "connect",
    "tls_ms": "TLS",
    "answer_ms": "answer",
}


def show_found(found: Found) -> None:
    phases = [(PHASES[name], value) for name, value in found.phases.model_dump().items() if value is not None]
    fields: list[tuple[str, str | Text]] = [
        ("outcome", status_text(found.status) if found.status else "-"),
        ("reason", found.reason),
        ("address", found.address or "-"),
        *((name, f"{value:.1f} ms") for name, value in phases),
    ]
    if (unfinished := found.unfinished) is not None:
        name = PHASES.get(f"{unfinished.phase}_ms", unfinished.phase)
        fields.append((name, f"unfinished after {unfinished.ms:.1f} ms"))
    if found.certificate_expires_at:
        fields.append(("certificate until", rfc3339(found.certificate_expires_at)))
    show_fields([*fields, ("probed by", found.executor)])
