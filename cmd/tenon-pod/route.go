package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/stdlib/step"
)

const (
	// routeEvery is how often the pod looks for a new route. Together with reportEvery and the
	// time of two calls, a change is effective and reported well within five seconds.
	routeEvery = time.Second
	// reportEvery is how often it stores what the program observes.
	reportEvery = 2 * time.Second
	// endedEvery and lastReports are for a route of one version, which is the last one: how often
	// the pod looks at it nevertheless, and how often it still stores what the program observes.
	endedEvery  = 10 * time.Second
	lastReports = 3
	// routePatience is how long one call of the store may take.
	routePatience = 10 * time.Second
)

// A routed program has several versions. The store holds the route, which is copied to the file
// that the program reads; what the program observes is copied to the store, where it stays when
// the pod is gone.
type routed struct {
	*runner
	at       *remote.Store // of the route, and of what is observed
	uid      string        // of the pod
	own      bool          // the platform gives none: it was chosen here
	route    []byte        // as the program has it
	observed []byte        // as the store has it
	ended    bool          // the route has one version
	reports  int           // since then
	// What was said last about each.
	noRoute, noReport string
}

// firstRoute copies the route before the program starts. It is nil without a route.
func (r *runner) firstRoute(ctx context.Context) (*routed, error) {
	if r.task.Step.Route == "" {
		return nil, nil
	}
	f := &routed{runner: r, uid: os.Getenv(pod.UIDEnv)}
	if f.own = f.uid == ""; f.own {
		f.uid = rand.Text()
	}
	if err := os.MkdirAll(filepath.Dir(r.task.Step.Route), 0o755); err != nil {
		return nil, err
	}
	var err error
	if f.at, err = r.readable(ctx, r.notes()); err != nil {
		return nil, err
	}
	return f, f.copyRoute(ctx)
}

// follow copies both until stop is closed, and then once more what was observed.
func (f *routed) follow(stop <-chan struct{}) {
	ctx := context.Background()
	look, report := time.NewTicker(routeEvery), time.NewTicker(reportEvery)
	defer look.Stop()
	defer report.Stop()
	for {
		select {
		case <-stop:
			f.say(&f.noReport, f.copyObserved(ctx))
			if f.own {
				f.say(&f.noReport, f.leave(ctx))
			}
			return
		case <-look.C:
			f.say(&f.noRoute, f.copyRoute(ctx))
			if f.ended {
				look.Reset(endedEvery)
			}
		case <-report.C:
			if f.ended {
				f.reports++
			}
			if f.reports <= lastReports {
				f.say(&f.noReport, f.copyObserved(ctx))
			}
		}
	}
}

// say prints why the store cannot be used, once.
func (f *routed) say(last *string, err error) {
	says := ""
	if err != nil {
		says = err.Error()
	}
	if says != "" && says != *last {
		fmt.Fprintf(f.log, "tenon: %s\n", says)
	}
	*last = says
}

// leave notes that the instance has ended, for platforms that do not list their instances.
func (f *routed) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, routePatience)
	defer cancel()
	if err := f.at.PutNote(ctx, pod.EndedNotes(f.task.Name)+f.uid, nil); err != nil {
		return fmt.Errorf("store that it has ended: %w", err)
	}
	return nil
}

func (f *routed) copyRoute(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, routePatience)
	defer cancel()
	b, err := f.at.Note(ctx, pod.RouteNote(f.task.Name))
	if err != nil {
		return fmt.Errorf("read the route: %w", err)
	}
	if bytes.Equal(b, f.route) {
		return nil
	}
	if err := files.Write(f.task.Step.Route, b, 0o644); err != nil {
		return fmt.Errorf("write the route: %w", err)
	}
	var route step.Route
	f.route, f.ended = b, json.Unmarshal(b, &route) == nil && len(route.Versions) == 1
	return nil
}

// copyObserved stores what the program has written, if that is new. The program writes the file,
// so it may be anything; whoever reads the note checks it.
func (f *routed) copyObserved(ctx context.Context) error {
	b, err := outputs.Read(f.task.Step.Observed)
	if errors.Is(err, fs.ErrNotExist) || err == nil && bytes.Equal(b, f.observed) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, routePatience)
	defer cancel()
	if err == nil {
		err = f.at.PutNote(ctx, pod.ObservedNotes(f.task.Name)+f.uid, b)
	}
	if err != nil {
		return fmt.Errorf("store what the program observes: %w", err)
	}
	f.observed = b
	return nil
}
