package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// fetches is how many artifacts are fetched in parallel. The store limits the parallel
// files of each.
const fetches = 4

// lay sets up the files of the task below the work folder, where the pod may have
// started before.
func (r *runner) lay(ctx context.Context) error {
	at := map[string]bool{} // what to keep: true for artifacts, false for the folders above them
	for _, f := range r.task.Fetch {
		if !filepath.IsLocal(f.Path) {
			return fmt.Errorf("the task is damaged: %q is outside the work folder", f.Path)
		}
		for dir := filepath.Dir(f.Path); dir != "."; dir = filepath.Dir(dir) {
			at[r.at(dir)] = false
		}
	}
	for _, f := range r.task.Fetch {
		at[r.at(f.Path)] = true
	}
	if code, err := filepath.Rel(r.work, r.task.Step.Code); err == nil && filepath.IsLocal(code) && !at[r.at(code)] {
		at[r.at(code)] = false // it must exist, even if it is empty
	}
	// These folders stay too, since they may be mount points, but their contents are
	// removed.
	written := []string{r.at("out"), r.at("notes"), r.at("scratch")}
	for _, dir := range written {
		at[dir] = false
	}
	keep := at
	if observed := r.task.Step.Observed; observed != "" { // which the program goes on with
		keep = maps.Clone(at)
		keep[observed] = true
	}
	if err := sweep(r.work, keep); err != nil {
		return err
	}
	for _, dir := range append(written, slices.Sorted(maps.Keys(at))...) {
		if at[dir] {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetches)
	for _, f := range r.task.Fetch {
		group.Go(func() error {
			if err := r.fetch(ctx, f, r.at(f.Path)); err != nil {
				return fmt.Errorf("fetch %s: %w", f.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b, err := json.Marshal(r.task.Step)
	if err != nil {
		return err
	}
	return os.WriteFile(r.at(document), append(b, '\n'), 0o644)
}

const document = "step.json"

func (r *runner) at(path string) string { return filepath.Join(r.work, path) }

// sweep removes everything in a folder except for what stays.
func sweep(dir string, stays map[string]bool) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch whole, there := stays[path]; {
		case whole:
		case there && e.IsDir():
			err = errors.Join(err, sweep(path, stays))
		default:
			err = errors.Join(err, files.RemoveAll(path))
		}
	}
	return err
}

// fetch fetches an artifact unless the right one is already there.
func (r *runner) fetch(ctx context.Context, f pod.Fetch, to string) error {
	if got, err := artifact.Digest(ctx, to); err != nil || got != f.Ref.Digest {
		if err := files.RemoveAll(to); err != nil {
			return err
		}
	}
	from, err := r.readable(ctx, f.Store)
	if err != nil {
		return err
	}
	if err := from.Get(ctx, f.Ref, to); err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode()&^0o222)
	})
}

// withdraw removes the program's variables from this process, sets its own instead, and
// prevents other processes from inspecting it.
func withdraw(container []string) error {
	for _, kv := range container {
		k, v, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(k, pod.SecretEnv) || strings.HasPrefix(k, pod.StoreEnv) {
			if err := os.Unsetenv(k); err != nil {
				return err
			}
		}
		if own, is := strings.CutPrefix(k, pod.StoreEnv); is {
			if err := os.Setenv(own, v); err != nil {
				return fmt.Errorf("the variable %s: %w", k, err)
			}
		}
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// environ returns the variables of the program, sorted.
func (r *runner) environ() []string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
	secrets := map[string]string{}
	for _, kv := range r.container {
		k, v, _ := strings.Cut(kv, "=")
		if name, is := strings.CutPrefix(k, pod.SecretEnv); is {
			secrets[name] = v
		} else if !strings.HasPrefix(k, pod.StoreEnv) {
			env[k] = v
		}
	}
	maps.Copy(env, r.task.Env)
	if of := r.task.Env["VIRTUAL_ENV"]; of != "" {
		if bin := filepath.Join(of, "bin"); !slices.Contains(filepath.SplitList(env["PATH"]), bin) {
			env["PATH"] = bin + ":" + env["PATH"]
		}
	}
	env["HOME"], env["TMPDIR"] = r.at("scratch"), r.at("scratch")
	env["USER"], env["LOGNAME"] = "tenon", "tenon" // the user has no other name in an image
	maps.Copy(env, secrets)
	env[step.Env] = r.at(document)
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}
