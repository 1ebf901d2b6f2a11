"""What PyInstaller asks of a package: the folder of its hook (entry point pyinstaller40 in pyproject.toml)."""

from pathlib import Path


def hook_directories() -> list[str]:
    """Folder that has the hook."""
    return [str(Path(__file__).parent)]
