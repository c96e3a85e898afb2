// Command bench compares tenon with tools that do the same kind of work, on the same
// files and in the same run, and prints one table. `make bench` runs it.
//
// It measures the binary as users run it: cold processes, their wall time, CPU
// and peak memory. The two tools alternate, so that other work of the machine
// affects both. It prints medians. Every output is checked, so that a failure
// does not count as a fast run. Systems are generated, with ten columns for each
// entity; plans are made from a real state.
//
// If a goal is missed, the row runs once more with a tenon whose main function
// writes a profile, and its top entries follow the table. They do not include
// what a process does before its main function.
//
// Containers run on a containerd of its own, and jobs of a cluster on the cluster
// of the tests; both need root.
//
// system.go makes systems, ninja.go their graphs for ninja, states.go states;
// measure.go runs commands; there is one file for each kind of row.
package main
