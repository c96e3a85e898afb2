// Package local is what the executors that run units on this machine have in
// common: the folder of a run, the document in it, who may touch it, whether what
// it reads is there, and whether a service on this machine is ready. Package disk
// measures what is written, package first runs a program as the first process.
//
//	Dir               locked while a task is started or removed
//	Dir/step.json     what the program finds, see docs/step.md; no secrets
//	Dir/out/PORT      outputs
//	Dir/scratch       also $TMPDIR
//	Dir/notes         metrics.json and progress.jsonl
//	Dir/log           standard output and error, byte by byte as printed
package local
