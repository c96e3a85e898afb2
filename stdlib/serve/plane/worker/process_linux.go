package worker

import (
	"runtime"
	"sync"
	"syscall"
)

// attributes make a process a group of its own, which ends with this program even if it is
// killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// starter runs functions on one thread that never ends: the kernel kills processes with the
// thread that has started them.
var starter = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
})

func onStarter(f func() error) (err error) {
	done := make(chan struct{})
	starter() <- func() {
		defer close(done)
		err = f()
	}
	<-done
	return err
}
