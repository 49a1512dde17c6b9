"""Answers kept and shared. Empty until the exact cache moves in; its import rules are checked from the start."""
