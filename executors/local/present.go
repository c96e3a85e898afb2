package local

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// Present returns an error that names the first missing input or data file of the task.
func Present(t executors.Task) error {
	for _, port := range slices.Sorted(maps.Keys(t.Inputs)) {
		if p := t.Inputs[port]; p.Kind != ir.EndpointOf && !p.Lost {
			if _, err := os.Stat(p.Path); err != nil {
				return fmt.Errorf("input %s: %w", port, err)
			}
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(t.Files)) {
		for _, path := range t.Files[pattern] {
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("data %s: %w", pattern, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Beside)) {
		if err := Present(t.Beside[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Apart says why a version in the task cannot run in one container with it, if it cannot. further
// says that the image has the Python environments of all versions, and not only that of the task.
func Apart(t executors.Task, further bool) error {
	own := t.Unit.Code
	for _, name := range slices.Sorted(maps.Keys(t.Beside)) {
		other, has := t.Beside[name].Unit.Code, ""
		switch {
		case other.Python != own.Python && other.Lock != "" && own.Lock != "":
			has = "another version of Python: a container has one"
		case !further && other.Lock != own.Lock:
			has = "another Python environment: a pod has one"
		case !further && !slices.Equal(other.Environments, own.Environments):
			has = "features in Python with packages of their own: a pod has those of the new version"
		default:
			continue
		}
		return fmt.Errorf("it cannot run beside %s, which has %s; remove release to replace it at once", name, has)
	}
	return nil
}

// Readable returns an error that names the first data file that the user of the task's
// program may not read.
func Readable(t executors.Task, uid, gid int) error {
	for _, pattern := range slices.Sorted(maps.Keys(t.Files)) {
		for _, path := range t.Files[pattern] {
			info, err := os.Stat(path)
			if err != nil {
				return fmt.Errorf("data %s: %w", pattern, err)
			}
			if !mayRead(path, info, uid, gid) {
				return fmt.Errorf("data %s: %s has mode %04o, but programs run as user %d, who may not read it: allow it, for example with chmod o+r",
					pattern, path, info.Mode().Perm(), uid)
			}
		}
	}
	return nil
}

// mayRead checks the mode. A file with an access control list counts as readable.
func mayRead(path string, info fs.FileInfo, uid, gid int) bool {
	read := fs.FileMode(0o004)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case uid == 0:
			return true
		case int(st.Uid) == uid:
			read = 0o400
		case int(st.Gid) == gid:
			read = 0o040
		}
	}
	if info.Mode()&read != 0 {
		return true
	}
	n, err := unix.Getxattr(path, "system.posix_acl_access", nil)
	return err == nil && n > 0
}
