package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// keptFolder is the folder of the store in which all versions of a service keep files.
func keptFolder(state, env, unit, folder string) string {
	return path.Join(state, pod.KeptOf(env, unit, folder))
}

// keptRoom is the size in bytes of the volume in which a pod keeps what is not stored yet, or 0 if
// it keeps nothing. A node ends a pod whose volume is larger, so there is room for the files that
// are being written, although the service removes its oldest ones before.
func keptRoom(u ir.Unit) int64 {
	const writing = 128 << 20
	room := int64(0)
	for _, s := range u.Ships {
		room += s.Most + writing
	}
	return room
}

// BringKept copies what the pods of a service have stored.
func (e *Executor) BringKept(ctx context.Context, h state.Handle, from ir.Shipment, since time.Time, to string) error {
	ts, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	s, err := e.store(ctx, ts.Store)
	if err == nil {
		err = bring(ctx, s, keptFolder(ts.State, ts.Env, ts.Unit, from.Folder), since, to)
	}
	if err != nil {
		return fmt.Errorf("bring what %s has kept: %w", ts.Unit, err)
	}
	return nil
}

// fromPod separates the name of a file, in a copy, from that of its pod.
const fromPod = "_"

// bring copies the files of a folder of the store that ended at a time or later to a folder, and
// removes copies there of files that the store does not have any more.
func bring(ctx context.Context, s *remote.Store, folder string, since time.Time, to string) error {
	all, err := s.Kept(ctx, folder)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	there := map[string]remote.Kept{}
	for _, k := range all {
		ext := path.Ext(k.Name)
		there[strings.TrimSuffix(k.Name, ext)+fromPod+k.From+ext] = k
	}
	entries, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, f := range entries {
		has[f.Name()] = true
		if _, ok := there[f.Name()]; !ok && strings.Contains(f.Name(), fromPod) {
			if err := os.Remove(filepath.Join(to, f.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for name, k := range there {
		if has[name] || k.Ended.Before(since) {
			continue
		}
		group.Go(func() error {
			err := s.GetKept(ctx, k, filepath.Join(to, name))
			if errors.Is(err, artifact.ErrMissing) {
				return nil // it has just become too old
			}
			return err
		})
	}
	return group.Wait()
}
