import typer


def register(app: typer.Typer) -> None:
    @app.command("plan")
    def run() -> None:
        """X"""
