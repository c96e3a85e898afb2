package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// checkpointEvery is how often the pod looks for a checkpoint that is not stored yet. While it stores one, the
// program may save several; then only the newest of them is stored.
const checkpointEvery = 500 * time.Millisecond

// A keeper stores the checkpoints of a job while it runs, each as one file.
type keeper struct {
	at     *step.Checkpoints // in the pod
	store  *remote.Store
	folder string
	tmp    string // folder for what is being packed
	from   string // the name of this pod
	say    func(line string)
	stored int64 // number of the newest one in the store
	failed bool  // the last try
	// damaged are the folders of checkpoints that cannot be used, which are not read again, by number.
	damaged map[int64]os.FileInfo
}

// resume fetches the newest checkpoint of the job, if it keeps some.
func (r *runner) resume(ctx context.Context) error {
	if r.task.Checkpoints == nil || r.task.Step.Checkpoints == nil {
		return nil
	}
	s, err := r.readable(ctx, r.task.Checkpoints.Store)
	if err != nil {
		return fmt.Errorf("look for checkpoints: %w", err)
	}
	r.keeper = &keeper{
		at: r.task.Step.Checkpoints, store: s, folder: r.task.Checkpoints.Folder, tmp: r.work, from: hostName(),
		damaged: map[int64]os.FileInfo{},
		say:     func(line string) { fmt.Fprintf(both{r.log, r.tail}, "tenon: %s\n", line) },
	}
	if err := os.MkdirAll(r.keeper.at.Path, 0o755); err != nil {
		return err
	}
	all, err := s.Kept(ctx, r.keeper.folder)
	if err != nil {
		return fmt.Errorf("look for checkpoints: %w", err)
	}
	for i := len(all) - 1; i >= 0; i-- { // the newest first
		number, ok := pod.CheckpointNumber(all[i].Name)
		if !ok {
			continue
		}
		err := r.keeper.fetch(ctx, all[i], number)
		if err == nil && r.keeper.at.Outdated(number) {
			if err := errors.Join(r.keeper.at.Discard(number), s.Forget(ctx, all[i])); err != nil {
				return fmt.Errorf("remove checkpoint %d: %w", number, err)
			}
			continue
		}
		if err == nil {
			r.keeper.stored = number
			return nil
		}
		if ctx.Err() != nil || !errors.As(err, new(*artifact.DamagedError)) && !errors.Is(err, artifact.ErrMissing) {
			return fmt.Errorf("fetch checkpoint %d: %w", number, err)
		}
		r.keeper.say(fmt.Sprintf("checkpoint %d cannot be used: %v", number, err))
		if err := s.Forget(ctx, all[i]); err != nil { // it would count as one of the newest
			r.keeper.say(fmt.Sprintf("checkpoint %d is not removed: %s", number, oneLine(err)))
		}
	}
	return nil
}

func (k *keeper) fetch(ctx context.Context, from remote.Kept, number int64) (err error) {
	f, err := os.CreateTemp(k.tmp, "checkpoint-*.tar")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := k.store.GetKept(ctx, from, f.Name()); err != nil {
		return err
	}
	packed, err := os.Open(f.Name()) // which is another file now
	if err != nil {
		return err
	}
	defer packed.Close()
	return k.at.Unpack(number, packed)
}

// keep stores checkpoints until the returned function is called. With the result of the job in the store, that
// removes them; otherwise it stores the newest one.
func (r *runner) keep(ctx context.Context) (finish func()) {
	if r.keeper == nil {
		return func() {}
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	all.Go(func() { r.keeper.run(running) })
	return func() {
		stop()
		all.Wait()
		if r.result.Status() == 0 {
			return
		}
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastShip)
		defer cancel()
		if err := r.keeper.newest(within); err != nil {
			r.keeper.fault(err)
		}
	}
}

// forget removes the checkpoints of a job whose result is in the store. What stays costs space, and is removed with
// what no state needs.
func (r *runner) forget(ctx context.Context) {
	if r.keeper == nil || !r.result.Stored || r.result.Status() != 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastShip)
	defer cancel()
	if err := r.keeper.prune(ctx, 0); err != nil {
		r.keeper.say("its checkpoints are not removed: " + oneLine(err))
	}
}

func (k *keeper) run(ctx context.Context) {
	for pause := checkpointEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = checkpointEvery
		if err := k.newest(ctx); err != nil && ctx.Err() == nil {
			k.fault(err)
			pause = min(20*pause, longestPause)
		}
	}
}

func (k *keeper) fault(err error) {
	if !k.failed {
		k.failed = true
		k.say("the newest checkpoint is not stored: " + oneLine(err))
	}
}

// newest stores the newest checkpoint that is complete, unless it is stored.
func (k *keeper) newest(ctx context.Context) error {
	numbers, err := k.at.Numbers()
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if number <= k.stored {
			return nil
		}
		folder, err := os.Stat(k.at.At(number))
		if err != nil || os.SameFile(folder, k.damaged[number]) {
			continue // the program has removed it meanwhile, or it is damaged
		}
		path := pod.CheckpointName(k.tmp, number)
		if err := k.pack(number, path); err != nil {
			if unusable := new(step.UnusableError); errors.As(err, &unusable) {
				k.say(unusable.Error() + ", and is not stored")
				k.damaged[number] = folder
				continue
			}
			return err
		}
		_, err = k.store.Keep(ctx, k.folder, path, k.from)
		if err = errors.Join(err, os.Remove(path)); err != nil {
			return err
		}
		k.stored = number
		if k.failed {
			k.failed = false
			k.say("checkpoints are stored again")
		}
		return k.prune(ctx, k.at.Keep)
	}
	return nil
}

// pack writes a checkpoint to a file, and leaves none if that fails.
func (k *keeper) pack(number int64, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err = errors.Join(k.at.Pack(number, f), f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// prune removes all but the newest checkpoints from the store.
func (k *keeper) prune(ctx context.Context, keep int) error {
	all, err := k.store.Kept(ctx, k.folder)
	for i := 0; err == nil && i < len(all)-keep; i++ {
		err = k.store.Forget(ctx, all[i])
	}
	return err
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// hostName returns the name of this pod, which is part of the names of what it keeps.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return strings.ReplaceAll(name, "_", "-")
}
