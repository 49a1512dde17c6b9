"""The pages: each a pure function from a view and the answers to it."""
