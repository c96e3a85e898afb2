package state

// A sqliteFault is what SQLite says is wrong, as far as it matters to users.
type sqliteFault int

const (
	faultOther   sqliteFault = iota
	faultFull                // no space is left
	faultDamaged             // the file is not a database, or no longer one
	faultDenied              // the file may not be read or written
	faultBusy                // another process writes
	faultLocked              // another connection of this process writes
)
