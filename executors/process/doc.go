// Package process runs units as processes of this machine. It needs nothing installed,
// and it runs on Linux.
//
// An [executors.Task] goes in; a process in its own session and the files of the run's
// folder come out. The package relies on nothing in memory: it answers every question
// from the folder and from /proc, so that tenon finds everything again after it was
// killed.
//
//	Dir               locked while a task is started or removed
//	Dir/step.json     the input of the program, see docs/step.md; no secrets
//	Dir/out/PORT      outputs
//	Dir/scratch       also $TMPDIR; removed by Destroy
//	Dir/notes         metrics and progress
//	Dir/log           standard output and error, exactly as printed; see package logfile
//	Dir/process.json  the identity of the process: pid, start time, boot
//	Dir/exit          how it ended, written by tenon-run
//	Dir/verdict       why tenon ended it, if it did
//
// # How a program is started
//
// By tenon-run, see cmd/tenon-run, which leads a session of its own, detached from tenon. It
// waits at a pipe until process.json is written, runs the program as its child, writes what
// that prints to the log, and writes the exit status when it ends. So whenever tenon is
// killed, either the program never started or it can be found; and its exit status is
// known even if tenon was not there. An exit status above 128 is read as a signal, as
// every shell does.
//
// The socket of a service that is a program of Tenon belongs to tenon-run too. If the program is
// killed, connections wait in it until the program is started again.
//
// tenon-run inherits every process whose parent has ended, wherever it has gone. It ends
// them before it records the end of the program.
//
// The working directory is the unit's code folder, as docs/step.md promises: a program
// finds its own files by relative names. The folder is read-only; outputs and scratch are
// for writing. Without code the working directory is scratch.
//
// # The environment of the program
//
// It inherits only the variables that are needed to find programs, the home folder, the
// language, and the way to the network, see inherited in env.go. Anything else would
// change results without changing a digest, or would leak credentials that no secret
// declares.
//
// # Limits
//
//   - There are no retries and no timeouts: the engine handles these.
//   - CPU and memory are not enforced. The engine accounts for them, and
//     milli_cpu sets how many threads numerical libraries start.
//   - Wait enforces needs.disk: it measures out and scratch while it waits, and
//     once more when a job has ended. Nothing is measured while no tenon waits.
//     Files that are deleted but open, or elsewhere, are not counted.
//   - A program has the rights of tenon's user, see docs/step.md.
//   - If tenon-run is killed, programs that have left the session (setsid) are found by
//     their environment, and only by Destroy.
//   - A service manager that ends everything in tenon's control group, as
//     systemd does for a system service, ends the programs too.
package process
