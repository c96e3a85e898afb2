// Package fingerprint notes what a compilation has read of the file system, and reports
// later whether another one would read the same: contents of files, names in
// folders, what links stand for, and what was looked for and not found.
//
// It does not know what is read or why, and keeps nothing itself.
package fingerprint
