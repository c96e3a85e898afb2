// Package local holds what the executors on this machine share: the folder of a run and
// the document in it, the lock of that folder, checks of a unit and of its inputs, and
// the readiness of a service. Package disk measures what is written; package pid1 runs
// a program from the first process of a container.
//
//	Dir               locked while a task is started or removed
//	Dir/step.json     the document for the program, see docs/step.md; no secrets
//	Dir/out/PORT      outputs
//	Dir/scratch       also $TMPDIR
//	Dir/notes         metrics.json and progress.jsonl
//	Dir/log           standard output and error, exactly as printed; later parts in
//	                  Dir/log.more, see package logfile
package local
