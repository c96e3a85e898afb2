package containerdtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// leftovers says what is left of the containers of the daemon's own namespace that
// should be gone: containers, tasks, their snapshots, leases, mounts, shims,
// control groups and files in memory. Images and their snapshots may stay.
func (d *Daemon) leftovers() (left []string, err error) {
	c, err := d.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), d.Namespace), time.Minute)
	defer cancel()
	found := func(kind, name string) { left = append(left, kind+" "+name) }

	containers, err := c.Containers(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range containers {
		found("container", x.ID())
	}
	err = c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, s snapshots.Info) error {
		if s.Kind != snapshots.KindCommitted {
			found("snapshot", s.Name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	leases, err := c.LeasesService().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if _, ends := l.Labels["containerd.io/gc.expire"]; !ends { // a tenon that was killed leaves those that end by themselves
			found("lease", l.ID)
		}
	}
	for _, m := range d.mounts() {
		if strings.HasPrefix(m, filepath.Join(d.state(), "io.containerd.runtime.v2.task", d.Namespace)+"/") {
			found("mount", m)
		}
	}
	for _, dir := range d.outside() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				found("folder", filepath.Join(dir, e.Name()))
			}
		}
	}
	for pid, args := range d.Shims() {
		if args.Namespace == d.Namespace {
			found("shim", fmt.Sprint(pid, " of ", args.ID))
		}
	}
	return left, nil
}

// A Shim is what a shim says in its arguments.
type Shim struct{ Namespace, ID string }

// Shims are those of the daemon, by process.
func (d *Daemon) Shims() map[int]Shim {
	out := map[int]Shim{}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	for _, line := range lines {
		b, err := os.ReadFile(line)
		if err != nil || !bytes.Contains(b, []byte(d.Address)) || !bytes.Contains(b, []byte("containerd-shim")) {
			continue
		}
		var s Shim
		args := strings.Split(string(b), "\x00")
		for i, a := range args[:len(args)-1] {
			switch a {
			case "-namespace":
				s.Namespace = args[i+1]
			case "-id":
				s.ID = args[i+1]
			}
		}
		var pid int
		if _, err := fmt.Sscanf(line, "/proc/%d/cmdline", &pid); err == nil && s.ID != "" {
			out[pid] = s
		}
	}
	return out
}
