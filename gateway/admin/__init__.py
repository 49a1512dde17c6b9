"""The admin plane: its own process and listener, which reads what the workers wrote; a POST alone changes anything.

    app         the routes
    guard       the token, asked of every path
    workers     the workers' files: who lives, which policy, which upstreams
    caches      the store of answers: opened for one question or one purge
    keys        who may call: issued and revoked
    policies    versions of the policy: shown, compared, named, put back
    records     what calls cost and saved, searched and exported
    dashboard/  the pages
    exposition  the workers' counts as Prometheus reads them
    login       the form by which a browser shows the token, and its session
    page        what is where, at /api

Run it with `python -m gateway.admin`; `sluice serve` does.
"""

REDIS_URL_ENV = "SLUICE_REDIS_URL"  # serve hands the URL on in this variable: a process list would show a password
