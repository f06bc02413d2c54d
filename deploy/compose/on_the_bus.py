#!/usr/bin/env python3
"""Exits with 0 where a process of this container is connected to RabbitMQ: engine and executor open no port to ask."""

import sys
from pathlib import Path

PORT, ESTABLISHED = 5672, "01"


def remote_ports() -> set[int]:
    """Of the connections that stand, from /proc/net/tcp: its third column is the other side, its fourth the state."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[3] == ESTABLISHED}


sys.exit(PORT not in remote_ports())
