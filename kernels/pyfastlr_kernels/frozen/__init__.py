"""The entry point that PyInstaller asks for the folder of our hook (pyinstaller40 in pyproject.toml)."""

from pathlib import Path


def hook_directories() -> list[str]:
    """Return the folder with the hook. It is not a package, so walks over the package's modules do not import it."""
    return [str(Path(__file__).parent / "hooks")]
