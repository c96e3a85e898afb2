// Command tenon-pod runs in every pod of Tenon: it fetches a unit's inputs, runs the
// unit's program and stores its outputs.
//
//	tenon-pod run --store URL --task DIGEST
//	tenon-pod serve
//	tenon-pod started
//	tenon-pod scale CONFIG
//
// The second form is the first one with what [pod.HostedStore] and [pod.HostedTask] name. The third
// form is the startup probe of a service without an endpoint: it succeeds once the first one, in the
// same pod, has started the program. The last form runs in a pod of its own, and makes the
// replicas of a service follow its load, see package scaler. The rest is about the first form.
//
// The store holds the task, a [pod.Task]. Its files are below [pod.Work]:
//
//	in, data, code  at the paths in the task, read-only
//	out             outputs
//	notes           metrics.json and progress.jsonl
//	scratch         also $TMPDIR and $HOME
//	route           the route of a service with several versions
//	step.json       the document
//	log             the end of what the program printed
//
// A pod that restarts finds the folder of its predecessor: it keeps what was fetched
// and is still correct, and recreates everything else. A job that has ended before does
// not run again.
//
// # What the program finds
//
// The program gets the variables of the container, which come from the image and the
// pod, without those that begin with [pod.StoreEnv]. The following override them, in
// this order: the variables of the task; HOME, TMPDIR, USER and LOGNAME, and PATH if
// the task has VIRTUAL_ENV; those that begin with [pod.SecretEnv]; and $TENON_STEP. The
// program cannot inspect this process.
//
// # What it does for the program
//
// It is the first process of the container, see package pid1: it forwards signals and
// reaps processes. It kills a program that exceeds its disk limit or its grace period,
// and everything that a program leaves behind. Standard output and error go to this
// process's standard output in the order in which they were printed, with progress in
// between, see [pod.LogWriter].
//
// A service with several versions gets its route from a note in the store, which is looked at
// once a second, and what it observes is stored as a note of the pod.
//
// # How it ends
//
// It exits with the program's status, or 128 plus the signal that killed it; with 127
// if the program was not found, and 126 if something else failed. It writes a job's
// [pod.Result] to the store last, when everything that the result refers to is there. A
// [pod.End] is the termination message. If the store does not accept the outputs, it
// retries for some time.
//
// # What a service keeps
//
// The files that a service keeps and that may be stored elsewhere, see [pod.Ship], are below
// [pod.Kept], a volume of the pod. They are stored as soon as they are complete, and the rest
// once the program has ended. The service learns from a file how that went.
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
	if len(os.Args) == 2 && os.Args[1] == pod.StartedCommand {
		os.Exit(started(os.Stdout))
	}
	if len(os.Args) == 3 && os.Args[1] == pod.ScaleCommand {
		os.Exit(scale(os.Args[2]))
	}
	var o options
	hosted := len(os.Args) == 2 && os.Args[1] == pod.HostedCommand
	if !hosted && (len(os.Args) < 2 || os.Args[1] != "run") {
		fmt.Fprintln(os.Stderr, "usage: tenon-pod run --store URL --task DIGEST | tenon-pod serve | tenon-pod started | tenon-pod scale CONFIG")
		os.Exit(pid1.ExitFault)
	}
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	flags.StringVar(&o.url, "store", "", "`URL` of the artifact store")
	flags.StringVar(&o.digest, "task", "", "`digest` of the task in the store")
	flags.StringVar(&o.work, "work", pod.Work, "working `folder`")
	flags.StringVar(&o.message, "message", pod.MessagePath, "`file` for the termination message")
	flags.DurationVar(&o.patience, "patience", 10*time.Minute, "how long to retry if the store does not accept the outputs")
	_ = flags.Parse(os.Args[2:]) // it exits
	if hosted {
		o.url, o.digest, o.message = os.Getenv(pod.HostedStore), os.Getenv(pod.HostedTask), os.DevNull
	}

	end := o.run(os.Stdout)
	if err := os.WriteFile(o.message, end.Message(), 0o644); err != nil {
		fmt.Fprintf(os.Stdout, "tenon: write the termination message: %v\n", err)
	}
	os.Exit(end.Status())
}
