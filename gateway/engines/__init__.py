"""Engines of our own: llama.cpp processes started beside the gateway, and how to reach them."""
