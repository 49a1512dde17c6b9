"""The admin plane: its own process and listener, which only reads what the workers wrote.

    app         the routes
    guard       the token, asked of every path
    workers     the workers' files: who lives, which policy, which upstreams
    exposition  the workers' counts as Prometheus reads them
    page        what a browser gets at /

Run it with `python -m gateway.admin`; `sluice serve` does.
"""
