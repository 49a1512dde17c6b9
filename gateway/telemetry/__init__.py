"""Traces for OpenTelemetry, made from finished calls beside the event loop.

    switch      reads the standard OTEL_* environment: on, off, or what is missing
    context     W3C Trace Context: ids of a call's spans, chosen when it begins, and what its upstreams are told
    places      who stands behind an upstream, in the words of the conventions
    attributes  what a span says of a call and of an attempt: names, counts, times and reasons, never content
    spans       the spans themselves; the only file that imports OpenTelemetry

Off, nothing here is imported but `switch` and `context`, and no call does any work for it.
"""
