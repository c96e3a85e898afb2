// Package cloud has what the executors of clouds share: what a unit may read and write, from which
// its rights follow, names of resources, faults and files for OpenTofu that depend on no provider, and how
// a start of a task is followed, whatever runs it.
package cloud
