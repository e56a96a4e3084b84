"""Where the tests find what lies outside them."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
SHARED = ROOT.parent / "shared"
"""Real data and facts that are not ours to publish; tests that need them skip where they are absent."""
