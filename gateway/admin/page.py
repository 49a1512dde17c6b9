"""What a browser gets at `/`: a plain page that says what is where. It needs no script and nothing from elsewhere."""

from __future__ import annotations

PLACES = (
    ("/", "the dashboard; /login and /logout in a browser", ""),
    ("/api", "this page", ""),
    ("/api/overview", "sums, series, techniques, tops, latency, holdout", "since, until; filters as of /api/search"),
    ("/api/search", "calls by what they have in common", "limit, before, order, q, tag, min_cost_usd, ..."),
    ("/api/profile", "how each flow of calls behaves", "since, until, by"),
    ("/api/export", "every call as a file", "format: csv or jsonl; filters as of /api/search"),
    ("/export/{name}.csv", "a table of the dashboard", "name: requests, series, profile, model, upstream, ..."),
    ("/api/stats", "sums and latency percentiles of the last day", "since: Unix time"),
    ("/api/requests", "the newest calls, one line each", "limit, before, model, tenant, upstream, outcome, cache"),
    ("/api/requests/{id}", "one call: every upstream asked, and why", "id: the answer's x-request-id"),
    ("/api/policy", "the policy in force, its file, the last refusal", ""),
    ("/api/upstreams", "circuit breakers and engines", ""),
    (
        "/api/cache",
        "the caches: each worker's memory and store, and what they saved in the last day",
        "since: Unix time",
    ),
    (
        "POST /api/cache/purge",
        "forget answers: {entries, bytes, dry_run}",
        "JSON: tenant, namespace, tag, older_than (seconds) or all; dry_run, which is true unless you say false",
    ),
    ("/api/keys", "the keys, of the policy and issued: whose, for what, until when", ""),
    (
        "POST /api/keys",
        "issue a key: it is in the answer, once",
        "JSON: name, tenant; team, tags, models (globs), expires_in",
    ),
    ("POST /api/keys/revoke", "revoke an issued key, for good", "JSON: name"),
    ("/api/policy/versions", "every version that was in force, with its name", ""),
    ("/api/policy/versions/{version}", "one version's text", "version: its id or name"),
    ("/api/policy/diff", "what differs between two versions", "a, b: ids or names; without b the file as it is"),
    ("POST /api/policy/name", "name a version", "JSON: version, name"),
    ("POST /api/policy/restore", "write a version back to the policy file", "JSON: version"),
    ("/metrics", "counters and histograms for Prometheus", ""),
    ("/healthz", "this process lives (asks for no token)", ""),
)

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem .8rem .4rem 0;"
    "border-bottom:1px solid #ccc;vertical-align:top}code{white-space:nowrap}"
)


def page() -> str:
    """The page as HTML."""
    rows = "".join(f"<tr><td>{_place(path)}</td><td>{what}</td><td>{takes}</td></tr>" for path, what, takes in PLACES)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sluice admin</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        "<body><h1>Sluice</h1><p>The admin plane. It reads what the workers wrote. Only a POST changes anything.</p>"
        f"<table><thead><tr><th>Where</th><th>What</th><th>Takes</th></tr></thead><tbody>{rows}</tbody></table>"
        "</body></html>"
    )


def _place(path: str) -> str:
    """A link, except where the path has a part to fill in or does not answer GET."""
    return f"<code>{path}</code>" if "{" in path or " " in path else f'<a href="{path}"><code>{path}</code></a>'
