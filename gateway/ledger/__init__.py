"""The ledger: one record a call, written off the hot path; records can be lost, calls cannot.

journal    what a worker holds: `add(trace)` on the event loop, and a thread that hands records to the recorder
why        the note that says why a call missed the cache
record     a trace as bytes, and back; `frames` hold many of them, and the `spool` is the files of these
pages      small files by which workers and the recorder tell each other how they are
desk       one worker's records as the recorder sees them
taking     what the recorder does: from the spool to rows, counts and the fleet, each record once
rows       a trace as one row; `story` is its last column
store      the SQLite file as the recorder writes it, with its troubles and how it gets over them
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
