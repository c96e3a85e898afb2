// Package requestlog keeps the requests of a service, with what was computed for them, in
// files of Parquet.
//
// A [Log] takes requests. It copies their values into memory that it uses again, and one
// goroutine writes them. Neither a full queue nor a disk that fails delays or fails a request:
// rows that are lost are counted, with the reason. A file is written under another name,
// synced and renamed, so that after a kill there are only complete files. A [Reader] reads one.
//
// The folder may be written to by two processes, since a new version of a service starts
// before the old one ends. It does not know what the values mean, and it writes no private
// column.
package requestlog
