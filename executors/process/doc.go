// Package process runs units as processes of this machine. It is the executor
// that needs nothing installed, and it runs on Linux.
//
// In goes an [executors.Task]; out come a process in its own session and the
// files of the run's folder. The package keeps nothing in memory that it could
// not do without: every question is answered from the folder and from /proc,
// so a tenon that was killed finds all of it again.
//
//	Dir               locked while a task is started or removed
//	Dir/step.json     what the program finds, see docs/step.md; no secrets
//	Dir/out/PORT      outputs
//	Dir/scratch       also $TMPDIR; removed by Destroy
//	Dir/notes         metrics and progress
//	Dir/log           standard output and error, byte by byte as printed
//	Dir/process.json  which process it is: pid, start time, boot
//	Dir/exit          how it ended, written by the shell that started it
//	Dir/verdict       why tenon ended it, if it did
//
// # How a program is started
//
// As "sh -c SCRIPT tenon PROGRAM ARG...", see wrapper in start.go, detached from
// tenon in a session of its own. The shell waits at a pipe until process.json is
// written, runs the program as its child, and writes the exit status when it
// ends. So at whatever moment tenon is killed, either the program never started
// or it can be found; and how it ended is known even if tenon was not there. An
// exit status above 128 is read as the signal, as every shell does.
//
// The working directory is the unit's code folder, as docs/step.md promises: a
// program finds its own files by relative names. It is read-only; what is
// written belongs into outputs and scratch. Without code it is scratch.
//
// # What the program sees of tenon's environment
//
// Only what is needed to find programs, the home folder, the language, and the
// way to the network, see inherited in env.go. All else would change results
// without changing a digest, or would leak credentials that no secret declares.
//
// # What it does not do
//
//   - It has no retries and no timeouts: those are the engine's.
//   - CPU and memory are not enforced. The engine keeps account of them, and
//     milli_cpu sets how many threads numerical libraries start.
//   - needs.disk is enforced by Wait, which measures out and scratch while it
//     waits, and once more when a job has ended. Nobody measures while no tenon
//     waits. Files that are deleted but open, or elsewhere, are not seen.
//   - A program that leaves its session (setsid) is out of reach.
//   - A service manager that ends everything in tenon's control group, as
//     systemd does for a system service, ends the programs too.
package process
