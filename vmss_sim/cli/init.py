import typer


def register(app: typer.Typer) -> None:
    @app.command("init")
    def run() -> None:
        """X"""
