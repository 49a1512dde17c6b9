"""The ledger: one record a call, written off the hot path; records can be lost, calls cannot.

journal    what a worker holds: `add(trace)` on the event loop, one thread for all the rest
rows       a trace as one row; `story` is its last column
why        the note that says why a call missed the cache
store      the SQLite file as one worker writes it, with its troubles and how it gets over them
schema     the tables, and the steps from one version of them to the next
blocks     what finds calls in the file, by id and by time
sums       calls added up by time and flow, as pages read them; `spread` holds their latencies
retention  what is removed, and when; `backfill` sums what an older release wrote
reader     questions asked of the file, read-only, by the admin process: `overview`, `search`, `profile`, `export`
"""

from gateway.ledger.filters import Filters
from gateway.ledger.journal import Journal
from gateway.ledger.reader import LedgerReader, LedgerUnavailable
from gateway.ledger.retention import Retention
from gateway.ledger.store import Store

__all__ = ["Filters", "Journal", "LedgerReader", "LedgerUnavailable", "Retention", "Store"]
