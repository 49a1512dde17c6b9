"""Shorter prompts. Empty until the first technique moves in; its import rules are checked from the start."""
