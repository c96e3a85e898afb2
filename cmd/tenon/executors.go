package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/executors/process"
)

// executorNames are the executors that there are.
var executorNames = []string{process.Name, containerd.Name, kubernetes.Name}

// A setting is what an executor works within, besides its target.
type setting struct {
	system string            // its name
	dir    string            // of the state
	home   string            // the context whose cluster this is, or ""
	images map[string]string // of units, in the registry already
	state  string            // its lineage
}

// executor makes the executor of a target.
func (a *app) executor(t ir.Target, in setting) (executors.Executor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the tenon binary: %w", err)
	}
	said := func(name string) string {
		s, _ := t.Settings[name].(string)
		return s
	}
	switch t.Executor {
	case process.Name:
		envs := sync.OnceValue(a.environments) // to look for uv takes time, and few need it
		return process.New(process.Options{Duck: a.duck.Program, Python: func(ctx context.Context, lockPath string) (string, error) {
			lock, err := os.ReadFile(lockPath)
			if err != nil {
				return "", fmt.Errorf("read the lock of the Python environment: %w", err)
			}
			return envs().Ensure(ctx, lock)
		}}), nil
	case containerd.Name:
		return containerd.New(containerd.Options{
			Place: containerd.Place{Address: cmp.Or(said("address"), os.Getenv("CONTAINERD_ADDRESS")), Namespace: cmp.Or(said("namespace"), os.Getenv("CONTAINERD_NAMESPACE")),
				Snapshotter: said("snapshotter")},
			Build: a.images(t).Build, Duck: a.duck.Program,
			Runner: cmp.Or(os.Getenv("TENON_RUN"), filepath.Join(filepath.Dir(self), "tenon-run")),
			CDI:    gpuOptions().CDIDirs,
		}), nil
	case kubernetes.Name:
		settings, err := kubernetes.SettingsOf(t, in.system)
		if err != nil {
			return nil, err
		}
		o := kubernetes.Options{
			Settings: settings, Build: a.images(t).Build, Publish: a.images(t).Publish, Duck: a.duck.Program, Tenon: self, Home: in.home, Images: in.images,
			Pod: cmp.Or(os.Getenv("TENON_POD"), filepath.Join(filepath.Dir(self), "tenon-pod")),
		}
		o.State = in.state
		if in.dir != "" {
			o.Runs = filepath.Join(in.dir, "runs")
		}
		return kubernetes.New(o), nil
	}
	return nil, fmt.Errorf("this tenon has no executor %q", t.Executor)
}

// route makes the executor that starts what the target runs, and finds what others
// have started. wrap, which may be nil, is put around each.
func (a *app) route(t ir.Target, in setting, wrap func(executors.Executor) executors.Executor) (executors.Executor, error) {
	var mu sync.Mutex
	made := map[string]executors.Executor{}
	return executors.Route(t.Executor, executorNames, func(name string) (executors.Executor, error) {
		mu.Lock()
		defer mu.Unlock()
		if x := made[name]; x != nil {
			return x, nil
		}
		of := t
		if name != t.Executor {
			of = ir.Target{Executor: name}
		}
		x, err := a.executor(of, in)
		if err != nil {
			return nil, err
		}
		if wrap != nil {
			x = wrap(x)
		}
		made[name] = x
		return x, nil
	})
}

// images is the store of images, which all systems of a user share. The target may
// say which folder tells of registries.
func (a *app) images(t ir.Target) *image.Store {
	hosts, _ := t.Settings["hosts"].(string)
	return image.New(image.Options{Dir: filepath.Join(cacheDir(), "images"), Hosts: hosts, UV: findUV(), Log: a.stderr})
}

// pin finds by digest the images that a system names, if its target runs any. With
// again, registries are asked also for what they were asked before.
func (a *app) pin(ctx context.Context, sys *ir.System, again bool) (map[string]string, error) {
	if sys.Target.Base() == "" {
		return nil, nil
	}
	store, pinned := a.images(sys.Target), map[string]string{}
	for _, u := range sys.Units {
		ref := u.Code.Image
		if ref == "" {
			ref = sys.Target.Base()
		}
		if pinned[ref] != "" || u.Kind == ir.Record {
			continue
		}
		var err error
		if pinned[ref], err = store.Pin(ctx, ref, again); err != nil {
			return nil, fmt.Errorf("the image of %s: %w", u.ID, err)
		}
	}
	return pinned, nil
}

// honoured lists the executors with what each cannot honour.
func (a *app) honoured() map[string]func(ir.Target, ir.Unit) []compiler.Fault {
	out := map[string]func(ir.Target, ir.Unit) []compiler.Fault{}
	for _, name := range executorNames {
		x, err := a.executor(ir.Target{Executor: name}, setting{})
		if err != nil {
			continue
		}
		if name == kubernetes.Name {
			continue // what it can do depends on its target
		}
		checker, ok := x.(executors.Checker)
		if !ok {
			out[name] = nil
			continue
		}
		out[name] = func(_ ir.Target, u ir.Unit) []compiler.Fault {
			return asFaults(checker.Check(u))
		}
	}
	out[kubernetes.Name] = func(t ir.Target, u ir.Unit) []compiler.Fault {
		s, err := kubernetes.SettingsOf(t, "")
		if err != nil {
			return []compiler.Fault{{Field: "executor", Message: err.Error(), Target: true}}
		}
		return asFaults(kubernetes.Check(s, u))
	}
	return out
}

func asFaults(fs []executors.Fault) []compiler.Fault {
	var out []compiler.Fault
	for _, f := range fs {
		out = append(out, compiler.Fault(f))
	}
	return out
}
