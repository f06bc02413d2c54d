"""The command `vimmon doctor`."""

import typer
from rich.text import Text

from vimmon.cli.options import AsJson
from vimmon.cli.output import out, show_json, show_table

STYLES = {"ok": "green", "unknown": "dim", "warning": "yellow", "wrong": "bold red", "away": "bold red"}


def doctor(as_json: AsJson = False) -> None:
    """Look at each part, and say what is wrong with it and what to do about it. It changes nothing.

    Ends with 3 where something that is needed cannot be reached, with 1 where something is wrong, with 4 where only
    something could not be found out, else with 0.
    """
    from vimmon.cli.doctor.checks import CHECKS
    from vimmon.cli.doctor.finding import conclusion, exit_code
    from vimmon.cli.doctor.parts import Parts
    from vimmon.cli.doctor.run import diagnose
    from vimmon.settings import load_settings

    findings = diagnose(Parts(load_settings()), CHECKS)
    code = exit_code(findings)
    if as_json:
        show_json({"ok": code == 0, "findings": [finding.model_dump(mode="json") for finding in findings]})
        raise typer.Exit(code)
    rows: list[tuple[str | Text, ...]] = []
    for finding in findings:
        rows.append((finding.check, Text(finding.state, style=STYLES[finding.state]), finding.found))
        if finding.remedy:
            rows.append(("", Text("to do:", style="dim"), finding.remedy))
    show_table(("CHECK", "STATE", "+FOUND"), rows)
    out().print(f"\n{conclusion(findings)}")
    raise typer.Exit(code)
