"""Where calls end: every upstream is a handler that asks one server and judges what it says."""
