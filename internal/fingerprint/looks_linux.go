package fingerprint

import (
	"io/fs"
	"syscall"
)

// Look is what the file system says about a file.
func Look(info fs.FileInfo) Looks {
	l := Looks{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		l.Ctime, l.Inode, l.Device = st.Ctim.Nano(), st.Ino, uint64(st.Dev) //nolint:unconvert // narrower on some machines
	}
	return l
}
