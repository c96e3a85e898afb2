//go:build !linux

package main

import "syscall"

func onTrial() *syscall.SysProcAttr { return nil }
