"""What several test modules share."""

from pathlib import Path

ROOT = Path(__file__).parents[1]  # the checkout
SHARED = ROOT.parent / "shared"  # data and fixtures that do not travel with the book
