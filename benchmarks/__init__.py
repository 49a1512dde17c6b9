"""Our own benchmarks: each claim of speed is one command that anyone can run, with peers and controls in the same run.

    overhead    what a gateway adds to a call: ourselves, the peers that are installed, and the direct call
    cache       the cache library by itself: keys, lookups, byte bounds, and which answers are worth keeping
    ledger      what recording every call costs, and the dashboard's questions over a million records
    dashboard   how soon the dashboard's pages are painted, and what reading them does to calls
    soak        many mixed calls, good and bad: memory, descriptors and connections must stay flat
    start       from `sluice serve` to the first right answer, and what a worker weighs

What they stand on: `upstream` (answers without thinking), `load` (asks without thinking), `bodies` (what both say),
`targets` (how each gateway is started), `processes` (start, pin, weigh, stop), `entries` (invented cache entries),
`keeping` and `eviction` (parts of `cache`), `statistics`, `report`.
"""
