// Package state records what the applies of a system did: its runs, what is current for
// each unit, which models are registered, and which operations began and are not yet
// known to have ended.
//
// The state is authoritative: it is not a cache, and losing it loses history. It is one
// SQLite database, state.db, in a folder that only its owner may read, or one schema of a
// PostgreSQL database that a team shares. Artifacts, code and logs are in a folder and
// not in the database, which refers to them by digest or by path.
//
// Anyone may read at any time through a [Store]. Writing requires a [Lease], which one
// process holds at a time. A lease that is not renewed expires; a lease whose process is
// gone is taken over at once. Every write checks in its own transaction that the lease is
// still valid, so that a holder which slept through its expiry cannot undo the work of
// its successor. Nothing has to be unlocked by hand.
//
// A write is one transaction whose size depends on the change alone.
package state
