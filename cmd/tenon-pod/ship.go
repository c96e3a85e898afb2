package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/stdlib/step"
)

const (
	// shipEvery is how often the pod looks for files that are complete, and retainEvery how often
	// it looks for those in the store that are too old.
	shipEvery   = time.Second
	retainEvery = time.Minute
	// shipTries bounds how long one file is tried before others get their turn.
	shipTries = 2 * time.Minute
	// longestPause is between two failures.
	longestPause = time.Minute
	// lastShip is how long the pod may take for what its program leaves, if it was asked to end:
	// less than what is left then of the grace period of the pod. If the program died, another
	// start of it waits for that, and stores what is left.
	lastShip      = 30 * time.Second
	lastShipOfTry = 5 * time.Second
)

// A shipper stores the files in a folder that a service keeps, and removes them from the pod. A
// file that the store does not take stays, and is tried again.
type shipper struct {
	pod.Ship
	store    *remote.Store
	from     string // the name of this pod
	say      func(line string)
	status   step.Shipped
	retained time.Time
}

// ship stores what the service keeps until the returned function is called, which stores the rest.
func (r *runner) ship(ctx context.Context) (finish func()) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	for _, ship := range r.task.Ships {
		s := &shipper{Ship: ship, store: r.store, from: hostName(), say: func(line string) { fmt.Fprintf(r.log, "tenon: %s\n", line) }}
		s.write() // what an earlier start has done does not count
		all.Go(func() {
			s.run(running)
			within := lastShipOfTry
			if ctx.Err() != nil {
				within = lastShip
			}
			s.finish(context.WithoutCancel(ctx), within)
		})
	}
	return func() {
		stop()
		all.Wait()
	}
}

// run stores files until ctx is done.
func (s *shipper) run(ctx context.Context) {
	for pause := shipEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if err := s.all(ctx); err != nil && ctx.Err() == nil {
			pause = min(2*pause, longestPause)
			continue
		}
		pause = shipEvery
		s.retain(ctx)
	}
}

// finish stores what is left, as long as that may take.
func (s *shipper) finish(ctx context.Context, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var err error
	for ctx.Err() == nil {
		if err = s.all(ctx); err == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	s.say(fmt.Sprintf("%d files of %s are not stored: %v", len(s.waiting()), s.From, err))
}

// waiting returns the paths of the complete files, the oldest first.
func (s *shipper) waiting() (paths []string) {
	entries, err := os.ReadDir(s.From) // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.failed(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), files.HalfWritten) {
			paths = append(paths, filepath.Join(s.From, e.Name()))
		}
	}
	return paths
}

// all stores all files that there are.
func (s *shipper) all(ctx context.Context) error {
	for _, path := range s.waiting() {
		if err := s.one(ctx, path); err != nil {
			s.failed(err)
			return err
		}
	}
	return nil
}

func (s *shipper) one(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, shipTries)
	defer cancel()
	k, err := s.store.Keep(ctx, s.To, path, s.from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the service has removed it meanwhile, because there were too many
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.status.Fault != "" {
		s.say("what the service keeps is stored again")
	}
	s.status.Files, s.status.Bytes, s.status.Last, s.status.Fault = s.status.Files+1, s.status.Bytes+k.Size, time.Now().UTC(), ""
	s.write()
	return nil
}

// failed notes why a file is not stored, and says so once.
func (s *shipper) failed(err error) {
	if s.status.Fault == "" {
		s.say("what the service keeps is not stored: " + strings.Join(strings.Fields(err.Error()), " "))
	}
	s.status.Failed, s.status.Fault = s.status.Failed+1, err.Error()
	s.write()
}

// write tells the service what was done, for its metrics.
func (s *shipper) write() {
	b, err := json.Marshal(s.status)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.Status), 0o755)
	}
	if err == nil {
		err = files.Write(s.Status, b, 0o644)
	}
	if err != nil {
		s.say(err.Error())
	}
}

// retain removes the oldest files of all pods if they are larger than declared. Several pods may
// do so at once.
func (s *shipper) retain(ctx context.Context) {
	if time.Since(s.retained) < retainEvery || s.status.Files == 0 {
		return
	}
	s.retained = time.Now()
	ctx, cancel := context.WithTimeout(ctx, shipTries)
	defer cancel()
	all, err := s.store.Kept(ctx, s.To)
	total := int64(0)
	for _, k := range all {
		total += k.Size
	}
	for i := 0; err == nil && i < len(all) && total > s.Most; i++ {
		if err = s.store.Forget(ctx, all[i]); err == nil {
			total -= all[i].Size
			s.status.Removed++
		}
	}
	if err != nil && ctx.Err() == nil {
		s.failed(err)
		return
	}
	s.write()
}
