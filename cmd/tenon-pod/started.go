package main

import (
	"fmt"
	"io"
	"net"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local/pid1"
)

// announce makes [started] succeed from now on, until this process ends. Nothing accepts
// the connections: it is enough that they can be made.
func announce() (io.Closer, error) {
	l, err := net.Listen("unix", pod.StartedSocket)
	if err != nil {
		return nil, fmt.Errorf("announce that the program has started: %w", err)
	}
	return l, nil
}

// started returns the status of the command that asks whether the program of this pod has
// started, and prints why not.
func started(stdout io.Writer) int {
	c, err := net.Dial("unix", pod.StartedSocket)
	if err != nil {
		fmt.Fprintln(stdout, pod.NotStarted)
		return pid1.ExitFault
	}
	_ = c.Close()
	return 0
}
