"""Answering equal calls once: a library with plain arguments, which knows neither HTTP nor policies.

What makes two calls equal, and what may be done about it (decisions, no I/O):

    identity     a call's canonical body and scope as a key; digests that tell near calls apart
    directives   what a caller asks of the cache (RFC 9111)
    eligibility  which calls may share an answer, which answers may be kept, which kept ones may be used
    misses       why a call missed: the nearest entry and the first field that differs

What an answer is, whichever way it came:

    forms        the plain document and the stream of one answer; fold, expand, sse and documents stand behind it
    items        embeddings, input by input
    entry        an answer under its key, and its bytes

Where answers are kept:

    cache        memory in front of one slow store, written behind the calls
    stores/      memory (TinyLFU, bounded by bytes), sqlite (one file), redis (shared), each a Store
    guard        a slow store behind a deadline and a breaker
    bloom        what the file surely does not hold

What is under way:

    flight       one answer and all who wait for it, in this process
    lease        the same across processes, on Redis: a lease, a fencing token, a log to follow
    connection   Redis by URL: one server, Sentinel, Cluster
"""
