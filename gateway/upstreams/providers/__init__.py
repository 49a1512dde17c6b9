"""Providers with another wire format than OpenAI's, through the litellm library; `library.py` alone imports it."""
