// Package logfile keeps the log of a unit within a bound on disk, while its program runs
// and however long that is.
//
// A log is a file and, once that is full, parts in a folder beside it. Each part is named
// after its offset in the whole log, so nothing is ever renamed: a reader that is at the end
// of one part finds the next one by its name, and knows from the names what was dropped.
//
//	log                          the first PartSize bytes
//	log.more/0000000016777216    later parts, of which only the last three are kept
//
// The bytes are exactly those that were printed. What was dropped is a line that only the
// [Reader] adds, where it is missing.
//
// The package does not lock anything. A log has one writer; readers come and go.
package logfile
