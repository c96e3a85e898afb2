package main

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// drained returns the signals for the program. A service that is asked to end gets the
// signal only after its drain, or when it is asked again.
func (r *runner) drained() <-chan os.Signal {
	if r.task.Drain == 0 {
		return r.signals
	}
	signals := make(chan os.Signal)
	go func() { // runs as long as the process
		var asked os.Signal
		var over <-chan struct{}
		for {
			select {
			case s := <-r.signals:
				if asked == nil && (s == unix.SIGTERM || s == unix.SIGINT) {
					asked, over = s, r.drain()
				} else {
					signals <- s
				}
			case <-over:
				over = nil
				signals <- asked
			}
		}
	}()
	return signals
}

// drain returns a channel that is closed once the service may end: at once if a note
// says so, otherwise after the time that all nodes need to stop sending it requests.
func (r *runner) drain() <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		ctx, cancel := context.WithTimeout(context.Background(), r.task.Drain)
		defer cancel()
		if _, err := r.store.Note(ctx, pod.IdleNote(r.task.Name)); err != nil {
			<-ctx.Done()
		}
	}()
	return over
}
