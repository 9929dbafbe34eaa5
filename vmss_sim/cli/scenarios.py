"""`vmss-sim scenarios`: what is bundled."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("scenarios")
    def scenarios(
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON (docs/simulate-json.md).")] = False,
    ) -> None:
        """List the bundled scenarios."""
        import msgspec  # noqa: PLC0415  # heavy imports wait until a command runs

        from scenarios.files import BUNDLED, load  # noqa: PLC0415

        rows = [(path.stem, load(path)) for path in sorted(BUNDLED.glob("*.toml"))]
        if as_json:
            typer.echo(
                msgspec.json.format(
                    msgspec.json.encode([{"name": name, "title": one.title, "why": one.why} for name, one in rows]),
                    indent=2,
                ).decode()
            )
            return
        from vmss_sim.report.console import out, table  # noqa: PLC0415

        made = table("scenario", "what it shows")
        for name, one in rows:
            made.add_row(name, one.why or one.title)
        out().print(made)
