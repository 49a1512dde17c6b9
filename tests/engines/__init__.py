"""Acceptance tests over production engines: the engine asked directly, and through the gateway in front of it."""
