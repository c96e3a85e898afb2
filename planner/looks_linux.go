package planner

import (
	"io/fs"
	"syscall"
)

func looks(info fs.FileInfo) entry {
	e := entry{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		e.Ctime, e.Inode, e.Device = st.Ctim.Nano(), st.Ino, uint64(st.Dev) //nolint:unconvert // narrower on some machines
	}
	return e
}
