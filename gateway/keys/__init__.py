"""Issued keys: made by `sluice keys` or the admin plane, kept beside the policy's own, never lost and never come back.

    record     one key: what is kept of it, how one is made, which of two tellings of it holds
    changes    decisions over all of them, without I/O: add, revoke, merge
    store      what every place that keeps them can do, and how that fails
    files      the state folder: keys.json, its copy and its lock
    redis      a hash in Redis, for a fleet
    registry   which places a gateway has; the ring by which each worker follows them

The laws:

* A record is never removed. A revoked key stays as the note that it is revoked, and that note wins over any telling
  that knows nothing of it: an old file or a Redis that came back empty cannot bring a revoked key back.
* So places are merged rather than copied, and whoever lacks something is given it. The order does not matter.
* Who cannot read the keys goes on with those it knows. Who knows none and cannot read them lets nobody in.
"""
