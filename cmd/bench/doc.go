// Command bench measures tenon beside the tools that do the like, on the same
// files and in the same run, and prints one table. `make bench` runs it.
//
// It measures the binary as users run it: cold processes, their wall time, CPU
// and peak memory, each turn about with the other tool, so that what else the
// machine does hits both. Medians are given. Every output is checked, so that a
// failure cannot pass for a fast run. Systems are generated, with ten columns an
// entity; the state that a plan is made against is a real one.
//
// Where a goal is missed, the row is run once more under a profile, with a tenon
// whose main function writes one, and the top entries follow the table. What
// a process does before its main function is not in it.
//
// What runs in containers runs in those of a containerd of its own, what runs in a
// cluster in the one that tests have; both need root.
//
// system.go makes systems, ninja.go their graphs for ninja, record.go states;
// measure.go runs commands; there is one file for each kind of row.
package main
