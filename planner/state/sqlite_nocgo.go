//go:build !cgo

package state

// faultOf is for programs that are built without cgo, such as tenon-host. They have no SQLite and
// open no state.
func faultOf(error) sqliteFault { return faultOther }
