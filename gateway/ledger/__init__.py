"""The ledger: one record a call, written off the hot path; records can be lost, calls cannot.

journal   what a worker holds: `add(trace)` on the event loop, one thread for all the rest
rows      a trace as one row
why       the note that says why a call missed the cache
store     the SQLite file as one worker writes it, with its troubles and how it gets over them
schema    the tables, and the steps from one version of them to the next
reader    questions asked of the file, read-only, by the admin process
"""

from gateway.ledger.journal import Journal
from gateway.ledger.reader import Filters, LedgerReader, LedgerUnavailable
from gateway.ledger.store import Retention, Store

__all__ = ["Filters", "Journal", "LedgerReader", "LedgerUnavailable", "Retention", "Store"]
