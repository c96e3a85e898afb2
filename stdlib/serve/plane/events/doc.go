// Package events takes the events of a history while a service runs, so that each counts exactly
// once and none is lost.
//
// An event counts when it is in the log: a file in a folder that later versions of the service
// have too. [Feed.Post] writes the events of all requests that wait into one frame, waits until
// the disk has it, adds them to the history, and then returns. An event whose key the history has
// counts no more, so a client may send it again.
//
// The log is the truth. A process that begins reads all of it, with the table of the history, and
// one that runs reads what other processes append: while a new version of a service takes over,
// both take events. The file is locked while a process appends. A frame has a checksum. One that
// was not completely written, because a process or the machine stopped, is cut off and reported:
// nobody was told that its events count. A frame that is damaged with others behind it is an
// error.
package events
