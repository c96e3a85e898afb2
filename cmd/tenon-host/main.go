// Command tenon-host runs on hosts of tenon.#SSH: tenon copies it there and starts it over ssh.
//
//	tenon-host serve -dir FOLDER -runner DIGEST [-grace DURATION] [-containerd PATH]
//	tenon-host autostop -dir FOLDER -runner DIGEST [-containerd PATH]
//
// To serve is to answer requests over its standard input and output until these end, see package host.
// Jobs that it has started continue. With autostop, which it starts itself, it stops the host once that has had
// nothing to do for long enough.
//
// It is built without cgo, so that it runs on any Linux.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/ssh/host"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "serve" && os.Args[1] != "autostop" {
		fmt.Fprintln(os.Stderr, "usage: tenon-host serve|autostop -dir FOLDER -runner DIGEST [-grace DURATION] [-containerd PATH]")
		os.Exit(2)
	}
	o := host.Options{Env: os.Environ()}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.Dir, "dir", "", "`folder` for programs, artifacts and runs")
	flags.StringVar(&o.Runner, "runner", "", "`digest` of tenon-run")
	flags.DurationVar(&o.Grace, "grace", 10*time.Second, "how `long` a program may take to end")
	flags.StringVar(&o.Containerd, "containerd", "", "`path` of the socket of containerd (default \""+host.DefaultContainerd+"\")")
	_ = flags.Parse(os.Args[2:]) // it exits
	// Programs in containers run as another user and read what is written here. The folder around it
	// keeps everybody else away.
	unix.Umask(0o022)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer stop()
	do := func() error { return host.Serve(ctx, os.Stdin, os.Stdout, o) }
	if os.Args[1] == "autostop" {
		do = func() error { return host.Watch(ctx, o) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
