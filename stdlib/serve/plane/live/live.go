package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Options are those of a check.
type Options struct {
	Fraction float64
	Head     requestlog.Head // of samples, without private columns that are left out
	Replay   requests.Replay // of them, without folders
	Command  []string        // of a program that replays, as tenon-serve replay does
	Scratch  string          // folder
	Kept     string          // folder, for later versions too
	Say      func(line string)

	// Every is how long a sample waits at most until its file is complete, and Patience how long
	// the check of one file may take.
	Every, Patience time.Duration
}

// A Check checks requests of a service. Its methods are safe for concurrent use.
type Check struct {
	Options
	*requestlog.Log // of samples
	samples, batch  string
	stop            context.CancelFunc
	done            chan struct{}

	mu     sync.Mutex
	counts Counts

	faulty bool // the last check has failed
}

// Counts are what a check has found.
type Counts struct {
	Checked     int64 // rows
	Different   int64 // of them
	Predictions int64 // that were compared
	Columns     map[string]int64
	Skipped     int64     // rows that training leaves out, or that cannot be computed again
	Failed      int64     // checks that failed; their samples are lost
	Lost        []uint64  // rows, by [Reason]
	Last        time.Time // when the last check ended; zero before the first
}

const (
	sampleRows = 1000     // of a file, which is computed at once
	sampleSize = 64 << 20 // of all files together
)

// Start begins to check. What is left of an earlier life of the service is removed.
func Start(o Options) (*Check, error) {
	c := &Check{Options: o, done: make(chan struct{})}
	c.Every, c.Patience = cmp.Or(o.Every, 10*time.Second), cmp.Or(o.Patience, 10*time.Minute)
	dir := filepath.Join(o.Scratch, "parity")
	c.samples, c.batch = filepath.Join(dir, "samples"), filepath.Join(dir, "batch")
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("check requests: %w", err)
	}
	if err := errors.Join(os.MkdirAll(c.samples, 0o700), os.MkdirAll(o.Kept, 0o700)); err != nil {
		return nil, fmt.Errorf("check requests: %w", err)
	}
	var err error
	c.Log, err = requestlog.Open(requestlog.Options{
		Dir: c.samples, Head: o.Head, Sample: o.Fraction, Rows: sampleRows, Interval: c.Every, Keep: sampleSize,
		Say: func(line string) { o.Say("note: checks of parity: " + line) },
	})
	if err != nil {
		return nil, fmt.Errorf("check requests: %w", err)
	}
	c.counts.Columns = map[string]int64{}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go c.run(ctx)
	return c, nil
}

// Close ends a check that runs. Samples that were not checked are forgotten.
func (c *Check) Close() {
	c.stop()
	<-c.done
	c.Log.Close(time.Second)
	_ = os.RemoveAll(filepath.Dir(c.samples)) // the folder for temporary files is removed as well
}

// Counts returns what was found.
func (c *Check) Counts() Counts {
	c.mu.Lock()
	found := c.counts
	found.Columns = map[string]int64{}
	for name, n := range c.counts.Columns {
		found.Columns[name] = n
	}
	c.mu.Unlock()
	log := c.Log.Counts()
	found.Lost = log.Dropped[:requestlog.Store] // nobody takes samples away
	found.Failed += int64(log.Deleted)          // files that were too many
	return found
}

// Reason is why rows are lost.
func Reason(i int) string { return requestlog.Reason(i).String() }

// rest is how much longer than a check its process rests afterwards, so that it takes at most a
// tenth of one processor.
const rest = 9

// run checks one file of samples after another.
func (c *Check) run(ctx context.Context) {
	defer close(c.done)
	look := time.NewTicker(min(c.Every, time.Second))
	defer look.Stop()
	for next := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			if now.Before(next) {
				continue
			}
		}
		files, err := requestlog.Files(c.samples)
		if err != nil || len(files) == 0 {
			continue
		}
		began := time.Now()
		found, differences, err := c.check(ctx, files[0])
		if ctx.Err() != nil {
			return
		}
		c.ended(found, differences, err)
		next = time.Now().Add(rest * time.Since(began))
	}
}

// ended keeps and counts what a check has found, or that it has failed.
func (c *Check) ended(found *requests.Replayed, differences []requests.Differing, err error) {
	counts := c.Counts() // nobody else changes them
	counts.Lost, counts.Last = nil, time.Now()
	if err == nil {
		counts.Checked += found.Rows
		counts.Different += found.Differing
		counts.Predictions += found.Predictions
		counts.Skipped += found.LeftOut + found.Other + found.Redacted
		for name, n := range found.Columns {
			counts.Columns[name] += n
		}
		err = c.report(&counts, found, differences)
	}
	c.mu.Lock()
	counts.Failed = c.counts.Failed
	if err != nil {
		counts.Failed++
	}
	c.counts = counts
	c.mu.Unlock()
	switch {
	case err != nil && !c.faulty:
		c.Say(fmt.Sprintf("note: requests are not checked: %v", err))
	case err == nil && c.faulty:
		c.Say("note: requests are checked again")
	}
	c.faulty = err != nil
}

// check checks the samples of a file.
func (c *Check) check(ctx context.Context, path string) (found *requests.Replayed, differences []requests.Differing, err error) {
	if err := os.RemoveAll(c.batch); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.batch)) }()
	ask := c.Replay
	ask.Log, ask.Scratch = filepath.Join(c.batch, "log"), filepath.Join(c.batch, "scratch")
	if err := errors.Join(os.MkdirAll(ask.Log, 0o700), os.MkdirAll(ask.Scratch, 0o700)); err != nil {
		return nil, nil, errors.Join(err, os.Remove(path))
	}
	if err := os.Rename(path, filepath.Join(ask.Log, filepath.Base(path))); err != nil {
		return nil, nil, errors.Join(err, os.Remove(path))
	}
	ctx, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	found, err = c.replay(ctx, &ask, func(d requests.Differing) {
		if len(differences) < mostDifferences {
			differences = append(differences, d)
		}
	})
	return found, differences, err
}
