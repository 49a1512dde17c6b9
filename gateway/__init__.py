"""The gateway: one call in at the edge, down through layers to an upstream, and its reply back up.

How the rooms lie, in the order a call meets them:

    listener   one client connection of the data plane: bytes to requests, answers to bytes
    app        what stands behind it; one call there is an `exchange`: who calls, what is asked, what goes back
    runtime    the policy in force as a pipeline; a reload builds a new one whole and swaps one reference
    build      the order of layers, written once
    layers/    one file a layer; each wraps a handler and is one
    holdout    a share of calls that passes untouched, so that savings are measured against it
    caches     what equal calls share, opened as the policy says; `caching` does the work
    background calls that no caller waits for
    upstreams/ where calls end: servers that speak OpenAI's format, and providers through litellm
    engines/   the processes of our own llama.cpp engines, started and kept alive by serve
    money/     one price for every token, whoever answers, and each call's bill
    usage      an answer's token counts, as each provider tells them
    keys/      keys that were issued: files, Redis, and what workers know of them
    ledger/    one record a call, written off the hot path, and the sums of them
    recorder   its own process: it takes what workers wrote of their calls into the ledger
    metrics    counted from the same records; `families` names every metric, `counts` sums them over workers
    telemetry/ spans of finished calls, for OpenTelemetry
    logs       log lines, as text or JSON
    chronicle  every policy version that came into force is kept
    admin/     its own process and listener; it reads what the workers wrote
    serve      the parent of all these processes

`call.py` holds the three types that carry everything: Call, Reply and Handler.
"""
