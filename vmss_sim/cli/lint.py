import typer


def register(app: typer.Typer) -> None:
    @app.command("lint")
    def run() -> None:
        """X"""
