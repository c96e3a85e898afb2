// Command tenon-pod is the program of every pod of Tenon: it fetches what a unit
// reads, runs the unit's program, and stores what that wrote.
//
//	tenon-pod run --store URL --task DIGEST
//
// The task, a [pod.Task], is in the store. It is laid out below [pod.Work]:
//
//	in, data, code  as the task says where, read-only
//	out             outputs
//	notes           metrics.json and progress.jsonl
//	scratch         also $TMPDIR and $HOME
//	step.json       the document
//	log             the end of what the program printed
//
// A pod that is started again has the folder of the one before it: what was fetched
// and is still what it should be stays, all else is made anew. If a job has come to
// its end before, it does not run again.
//
// # What the program finds
//
// The variables of the container, which are those of the image and of the pod, but
// for those that [pod.StoreEnv] begins; over them those of the task; over them
// HOME, TMPDIR, USER and LOGNAME, and PATH where the task has VIRTUAL_ENV;
// over them those that [pod.SecretEnv] begins; and $TENON_STEP. It cannot look into
// this process.
//
// # What it does for the program
//
// It is the first process, see package first: it hands signals on and reaps. It
// ends a program that writes more than it may, or takes longer to end than its
// grace, and all that a program leaves behind. Standard output and error go to this
// process's standard output in the order in which they were printed, with progress
// in between, see [pod.LogWriter].
//
// # How it ends
//
// With the program's status, or 128 and the signal that killed it; with 127 if the
// program was not found, and 126 if something else went wrong. A job's
// [pod.Result] is written to the store last, when all that it names is there; a
// [pod.End] is the termination message. A store that does not take what a program
// has made is asked again for some time.
//
// It is built without cgo, so that it runs in any image.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local/pid1"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "run" {
		fmt.Fprintln(os.Stderr, "usage: tenon-pod run --store URL --task DIGEST")
		os.Exit(pid1.ExitFault)
	}
	var o options
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	flags.StringVar(&o.url, "store", "", "`URL` of the artifact store")
	flags.StringVar(&o.digest, "task", "", "`digest` of the task in the store")
	flags.StringVar(&o.work, "work", pod.Work, "`folder` in which all is laid out")
	flags.StringVar(&o.message, "message", pod.MessagePath, "`file` to which the end is written")
	flags.DurationVar(&o.patience, "patience", 10*time.Minute, "how long a store that does not take what the program made is asked again")
	_ = flags.Parse(os.Args[2:]) // it exits

	end := o.run(os.Stdout)
	if err := os.WriteFile(o.message, end.Message(), 0o644); err != nil {
		fmt.Fprintf(os.Stdout, "tenon: write the termination message: %v\n", err)
	}
	os.Exit(end.Status())
}
