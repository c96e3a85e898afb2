// Package all is the list of executors. It makes the executor of a target: it decodes the
// target's settings into the executor's own type and adds what the program provides (see
// [Setup]). Nothing outside this package and the executors' own folders knows an executor
// by name; what only some executors can do is an interface of package executors.
package all
