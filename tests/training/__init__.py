"""Tests of how the bundled models are made, and of the files that ship."""
