//go:build !linux

package worker

import "syscall"

// attributes make a process a group of its own. It ends when its socket does.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func onStarter(f func() error) error { return f() }
