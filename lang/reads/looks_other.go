//go:build !linux

package reads

import "io/fs"

func looks(info fs.FileInfo) Looks {
	return Looks{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
}
