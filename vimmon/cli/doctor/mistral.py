"""Mistral: can its API be reached, and does it know the action."""

import time

from vimmon.cli.doctor.finding import Found, away, ok, unknown, warning, wrong
from vimmon.cli.doctor.parts import Parts
from vimmon.errors import MistralRefused, MistralUnreachable
from vimmon.mistral.workflow import ACTION

INSTALL = (
    "pip install vimmon into the Python of Mistral's engine and of each executor, and restart them;"
    " the action is theirs by its entry point, mistral-db-manage populate is not needed"
)


def mistral_answers(parts: Parts) -> Found:
    begun = time.monotonic()
    try:
        parts.mistral.is_there()
    except MistralUnreachable as trouble:
        return away(_shortened(str(trouble)), trouble.remedy)
    return ok(f"{parts.mistral.url} answers in {(time.monotonic() - begun) * 1000:.0f} ms")


def action(parts: Parts) -> Found:
    """The API tells what is installed beside itself; engine and executors may be installed elsewhere."""
    try:
        known = parts.mistral.knows_action(ACTION)
    except MistralRefused as refusal:
        return unknown(str(refusal), refusal.remedy)
    if known:
        return ok(f"{ACTION} is known to Mistral's API")
    held = len([report for report in parts.leases if report.holders])
    if held:
        return ok(f"{ACTION} is not installed beside Mistral's API, but where it is needed: {held} VIMs are held")
    if parts.vims:
        return wrong(f"{ACTION} is not known to Mistral's API, and no executor holds a VIM", INSTALL)
    return warning(f"{ACTION} is not known to Mistral's API; engine and executors may be installed elsewhere", INSTALL)


def _shortened(said: str) -> str:
    """Without the layers of libraries between what was tried and why it failed."""
    tried, layers, why = said.partition(": HTTP")
    if not layers or "Caused by" not in why:
        return said
    return f"{tried}: " + why.rpartition(": ")[2].strip("'\")")
