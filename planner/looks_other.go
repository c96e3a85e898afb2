//go:build !linux

package planner

import "io/fs"

func looks(info fs.FileInfo) entry {
	return entry{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
}
