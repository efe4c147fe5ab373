"""Where the weights lie that come with the project."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
