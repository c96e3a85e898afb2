// Package state is the record of what a system's applies did: which runs
// there were, what stands for each unit, which models are registered, and what
// was begun and not yet seen to end.
//
// The record is authoritative: it is not a cache, and losing it loses history.
// It is one SQLite database, state.db, in a folder that only its owner may
// read, or one schema of a PostgreSQL database that a team shares. Artifacts,
// code and logs lie in a folder and are not kept here: the record knows them by
// digest or by path.
//
// Anyone may read at any time through a [Store]. Writing takes a [Lease], which
// one process holds at a time. A lease that is not renewed expires, one whose
// process is gone is taken over at once, and every write checks in its own
// transaction that the lease still stands, so that a holder which slept through
// its expiry cannot undo what its successor did. Nothing has to be unlocked by
// hand.
//
// A write is one transaction of a size that depends on the change alone.
package state
