package main

import "syscall"

// onTrial makes a program end with the thread that started it, also if this program is killed.
func onTrial() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
