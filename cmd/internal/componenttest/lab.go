package componenttest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/files"
)

// Folders of a component's example and of its cases.
const (
	Example = "example"
	cases   = "cases"
	program = "server"
)

// A lab is a folder in which the example of one component is applied repeatedly, to one
// state. Remove it.
type lab struct {
	component Component
	settings  project.Settings
	dir       string
	lock      *os.File // of dir
	server    *server
	ports     map[string]int // of services, by unit
	secrets   []string       // what must not be printed, besides the values of secrets
	made      []string       // variables that provide secrets, the same in every trial
	count     int
}

func newLab(ctx context.Context, c Component, s project.Settings) (*lab, error) {
	l := &lab{component: c, settings: s, ports: map[string]int{}}
	var err error
	if l.dir, l.lock, err = newFolder(); err != nil {
		return nil, err
	}
	l.settings.State = filepath.Join(l.dir, stateFolder)
	l.settings.Environ = append(slices.Clone(s.Environ), "CUE_CACHE_DIR="+filepath.Join(l.dir, "cue"))
	if l.server, err = serve(ctx, filepath.Join(c.Folder, Example, program), filepath.Join(l.dir, program)); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	l.settings.Tags = append(l.settings.Tags, l.server.tags...)
	l.settings.Environ = append(l.server.environ, l.settings.Environ...)
	l.secrets = l.server.secrets
	return l, nil
}

func (l *lab) remove() error {
	l.server.stop()
	return errors.Join(files.RemoveAll(l.dir), l.lock.Close())
}

// listen gives every service of a system a free port of this machine, the same one in
// each trial. Something else may listen on the declared one.
func (l *lab) listen(sys *ir.System) (err error) {
	for i := range sys.Units {
		u := &sys.Units[i]
		if u.Endpoint == nil {
			continue
		}
		at := *u.Endpoint
		if at.Port, err = l.port(u.ID); err != nil {
			return err
		}
		if m := at.Management; m != nil {
			other := *m
			if other.Port, err = l.port(u.ID + " management"); err != nil {
				return err
			}
			at.Management = &other
		}
		u.Endpoint = &at
		if err := u.Define(); err != nil {
			return err
		}
	}
	return nil
}

// port is a free port, the same one each time.
func (l *lab) port(name string) (port int, err error) {
	if l.ports[name] == 0 {
		l.ports[name], err = freePort()
	}
	return l.ports[name], err
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// system writes the example, with some of its files replaced, and returns its folder.
func (l *lab) system(ctx context.Context, replaced map[string][]byte) (string, error) {
	l.count++
	root := filepath.Join(l.dir, fmt.Sprintf("system%d", l.count))
	example, err := filepath.Abs(filepath.Join(l.component.Folder, Example))
	if err != nil {
		return "", err
	}
	dir, from := root, example
	if !l.component.library {
		// The system imports the module that contains it.
		rel, err := filepath.Rel(l.component.module, example)
		if err != nil {
			return "", err
		}
		dir, from = filepath.Join(root, rel), l.component.module
	}
	if err := copyTree(from, root); err != nil {
		return "", err
	}
	for name, content := range replaced {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return "", fmt.Errorf("the file %q is not in the example", name)
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return "", err
		}
	}
	s := l.settings
	s.Dir = dir
	_, err = project.New(s).Init(ctx, false)
	return dir, err
}

// copyTree copies files, except for hidden ones.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case rel == ".":
			return os.MkdirAll(to, 0o755)
		case name[0] == '.', name == "__pycache__":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file", path)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, info.Mode().Perm())
	})
}

// A trial is one apply, until the units of the component have run.
type trial struct {
	dir       string // of the system
	isolated  bool
	change    func(context.Context, runner, *executors.Task) error
	after     time.Duration // cancels the apply this long after a program has started
	cancels   bool
	meanwhile func(context.Context, *outcome) error // called while a service of the component is up
}

// An outcome is the result of a trial.
type outcome struct {
	fault   string          // in the sources
	units   []ir.Unit       // of the component
	runs    map[string]*ran // by unit
	network error           // why programs could not be isolated from the network
}

var (
	errEnough = errors.New("the component has run")
	errCancel = errors.New("canceled by the suite")
)

// try applies a system.
func (l *lab) try(ctx context.Context, t trial) (*outcome, error) {
	w := &watch{component: l.component.Name, isolated: t.isolated, change: t.change, runs: map[string]*ran{}, byHandle: map[string]*ran{}}
	s := l.settings
	s.Dir = t.dir
	s.Faults.Executor = w.around
	r, err := project.New(s).Compile(ctx)
	var faults *project.SourceError
	if errors.As(err, &faults) {
		var text strings.Builder
		err := diag.Print(&text, faults.Faults, faults.Source, diag.Style{})
		return &outcome{fault: text.String()}, err
	}
	if err != nil {
		return nil, err
	}
	if err := l.listen(r.System); err != nil {
		return nil, err
	}
	o := &outcome{runs: w.runs}
	for _, u := range r.System.Units {
		if u.Component == l.component.Name {
			o.units = append(o.units, u)
		}
	}
	if len(o.units) == 0 {
		return nil, fmt.Errorf("no unit of the example is a %s", l.component.Name)
	}
	s.Environ = l.withSecrets(s.Environ, o.units)
	ws, err := project.New(s).Open(ctx)
	if err != nil {
		return nil, err
	}
	defer ws.Close()
	err = l.apply(ctx, ws, r, t, w, o)
	o.network = w.refused
	return o, err
}

// withSecrets sets the variables that provide secrets of the units, unless they are set.
func (l *lab) withSecrets(environ []string, units []ir.Unit) []string {
	set := func(name string) bool {
		return slices.ContainsFunc(append(l.made, environ...), func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	for _, u := range units {
		for _, secret := range u.Secrets {
			if secret.Env != "" && !set(secret.Env) {
				l.made = append(l.made, secret.Env+"="+rand.Text())
			}
		}
	}
	return append(slices.Clone(environ), l.made...)
}

func (l *lab) apply(ctx context.Context, ws *project.Workspace, r *compiler.Result, t trial, w *watch, o *outcome) (err error) {
	wanted := map[string]bool{}
	var again []string
	for _, u := range o.units {
		wanted[u.ID] = true
		if u.Kind == ir.Job {
			again = append(again, u.ID)
		}
	}
	plan, err := ws.Plan(ctx, r, project.PlanOptions{Rerun: again})
	if err != nil {
		return err
	}
	session, err := ws.Lock(ctx, "component test", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Release(ctx)) }()
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if t.cancels {
		w.started = func() { time.AfterFunc(t.after, func() { cancel(errCancel) }) }
	}
	services := false
	result, err := session.Apply(run, plan, project.ApplyOptions{Events: func(e executors.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if e.Type == executors.EventReady { // also one of another component
			services = true
		}
		if !wanted[e.Unit] {
			return
		}
		one := w.runs[e.Unit]
		if one == nil {
			one = &ran{}
			w.runs[e.Unit] = one
		}
		switch e.Type {
		case executors.EventReady, executors.EventFinished, executors.EventReused:
			one.done = true
		case executors.EventCanceled:
			one.canceled = true
		case executors.EventFailed:
			one.fault = e.Error
		default:
			return
		}
		delete(wanted, e.Unit)
		if len(wanted) == 0 {
			cancel(errEnough)
		}
	}})
	if services {
		defer func() {
			err = errors.Join(err, destroy(ctx, session))
		}()
	}
	if result == nil || err != nil && !errors.Is(err, errEnough) && !errors.Is(err, errCancel) && len(result.Failed) == 0 {
		return err
	}
	for _, f := range result.Failed {
		if p := plan.System.Unit(f.Unit); p == nil || p.Component != l.component.Name {
			return fmt.Errorf("the example does not run: %w %s", f, strings.Join(f.LogTail, "; "))
		}
	}
	if err := l.outputs(ctx, ws, o); err != nil {
		return err
	}
	if services && t.meanwhile != nil {
		return t.meanwhile(ctx, o)
	}
	return nil
}

// outputs notes what the units of the component wrote.
func (l *lab) outputs(ctx context.Context, ws *project.Workspace, o *outcome) error {
	for id, r := range o.runs {
		if !r.done {
			continue
		}
		units, err := ws.Units(ctx, id)
		if err != nil {
			return err
		}
		r.outputs = map[string]output{}
		if units[0].Run == nil {
			continue
		}
		for port, a := range units[0].Run.Outputs {
			r.outputs[port] = output{kind: ir.PortKind(a.Kind), digest: a.Digest, path: units[0].Artifacts[port], rows: a.Rows}
		}
	}
	return nil
}

// rows returns the first rows of the tables that a unit wrote, as text to search.
func (l *lab) rows(ctx context.Context, dir, unit string) (string, error) {
	s := l.settings
	s.Dir = dir
	ws, err := project.New(s).Open(ctx)
	if err != nil {
		return "", err
	}
	defer ws.Close()
	units, err := ws.Units(ctx, unit)
	if err != nil {
		return "", err
	}
	tables, err := ws.Preview(ctx, units[0], 1000)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(tables), nil
}
