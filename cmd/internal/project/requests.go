package project

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// RequestsOptions say which logged requests to show, and where they go.
type RequestsOptions struct {
	Since time.Time
	ID    string // of one request
	Limit int    // of rows, the newest; 0 is all
	Out   string // path of a table
	Force bool   // replace what is at Out
}

// Requests calls f for each logged row of a deployment, the oldest first, or writes the rows to
// a table and returns how many there are. Without a name it is the only deployment with a log.
func (w *Workspace) Requests(ctx context.Context, name string, o RequestsOptions, f func(line []byte) error) (unit string, rows int64, err error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return "", 0, err
	}
	u, err := s.logging(name)
	if err != nil {
		return "", 0, err
	}
	log, err := w.requestLog(ctx, u, o.Since)
	if err = w.partly(err); err != nil {
		return u.ID, 0, err
	}
	ask := requests.Selection{Log: log, Since: o.Since, ID: o.ID, Limit: o.Limit}
	if o.Out == "" {
		return u.ID, 0, w.askServe(ctx, "requests", u, ask, f)
	}
	if !o.Force && exists(o.Out) {
		return u.ID, 0, existsError(o.Out)
	}
	var found requests.Exported
	err = inPlace(o.Out, "write to "+o.Out, o.Force, func(made string) error {
		ask.Out = made
		return w.askServe(ctx, "requests", u, ask, func(line []byte) error { return json.Unmarshal(line, &found) })
	})
	return u.ID, found.Rows, err
}

// kept is the folder with the files that a service keeps.
func (w *Workspace) kept(u *ir.Unit) string { return executors.KeptDir(w.dir, w.set.Env, u.ID) }

// requestLog returns the folder of the request log of a service, as brought does.
func (w *Workspace) requestLog(ctx context.Context, u *ir.Unit, since time.Time) (string, error) {
	return w.brought(ctx, u, requests.Folder(w.kept(u)), since)
}

// partly makes a warning of an error which says that a part of a log does not answer.
func (w *Workspace) partly(err error) error {
	var partial *executors.PartialError
	if errors.As(err, &partial) {
		w.set.warn(partial)
		return nil
	}
	return err
}

// brought returns a folder in the one that a service keeps. If the service keeps it elsewhere, it
// first brings the files that were complete at since or later. With an [executors.PartialError],
// the folder has what can be had now.
func (w *Workspace) brought(ctx context.Context, u *ir.Unit, dir string, since time.Time) (string, error) {
	from := u.Ships.Of(filepath.Base(dir))
	if from == nil {
		return dir, nil
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return "", err
	}
	h := current[u.ID].Handle
	if h == nil {
		return dir, nil
	}
	t, err := w.targetOf(ctx, *h)
	if err != nil {
		return "", err
	}
	x, err := all.New(t, w.setupApart())
	if err != nil {
		return "", err
	}
	if k, ok := x.(executors.Keeper); ok {
		err = k.BringKept(ctx, *h, *from, since, dir)
	}
	if c, ok := x.(io.Closer); ok { // a controller asks often, and connections stay open
		_ = c.Close()
	}
	return dir, err
}

// targetOf returns the target that was applied last, if its executor made a handle: its settings say where else
// versions may have been. Otherwise only the executor is known.
func (w *Workspace) targetOf(ctx context.Context, h state.Handle) (ir.Target, error) {
	last, err := w.store.Revisions(ctx, 1)
	if err == nil && len(last) > 0 {
		if sys, err := w.system(ctx, &last[0]); err == nil && sys.Target.Executor == h.Executor {
			return sys.Target, nil
		}
	}
	return ir.Target{Executor: h.Executor}, err
}

// logsRequests reports whether a service logs its requests.
func logsRequests(u *ir.Unit) bool {
	var params struct {
		Log *struct{} `json:"log"`
	}
	return u.Kind == ir.Service && json.Unmarshal(u.Params, &params) == nil && params.Log != nil
}

// logging returns the deployment of a name, which logs requests.
func (s *snapshot) logging(name string) (*ir.Unit, error) {
	return s.deployment(name, logsRequests, "logs", "log: {}")
}

// deployment returns the deployment of a name, or the only one, that does something with requests. verb
// and declaration describe that in errors.
func (s *snapshot) deployment(name string, does func(*ir.Unit) bool, verb, declaration string) (*ir.Unit, error) {
	all := s.having(does)
	if name == "" {
		switch len(all) {
		case 0:
			return nil, &RequestError{fmt.Errorf("no deployment in %s %s requests: add %s to a serve.#HTTP", s, verb, declaration)}
		case 1:
			return s.units[all[0]], nil
		}
		return nil, &RequestError{fmt.Errorf("name a deployment: %s", strings.Join(all, ", "))}
	}
	_, units, err := s.named(name)
	if err != nil {
		return nil, err
	}
	for _, id := range units {
		if does(s.units[id]) {
			return s.units[id], nil
		}
	}
	return nil, &RequestError{fmt.Errorf("%s %s no requests: add %s to it", name, verb, declaration)}
}

// askServe asks tenon-serve about logged requests, and calls f for each line of its answer.
func (w *Workspace) askServe(ctx context.Context, what string, u *ir.Unit, question any, f func(line []byte) error) error {
	serve, err := w.set.Programs.Serve(ctx)
	if err != nil {
		return err
	}
	return w.ask(ctx, serve, what, u, question, f)
}

// ask asks a program of tenon, and calls f for each line of its answer.
func (w *Workspace) ask(ctx context.Context, program, what string, u *ir.Unit, question any, f func(line []byte) error) error {
	b, err := json.Marshal(question)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := w.program(ctx, program, what, u)
	var log bytes.Buffer
	cmd.Stdin, cmd.Stderr, cmd.WaitDelay = bytes.NewReader(b), &log, 5*time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(program), err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<28)
	for err == nil && lines.Scan() {
		err = f(lines.Bytes())
	}
	err = errors.Join(err, lines.Err())
	if err != nil {
		cancel()
	}
	ended := cmd.Wait()
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ended != nil:
		return programError(program, what, ended, log.String())
	}
	return nil
}

// program is a program of tenon that does something for a unit.
func (w *Workspace) program(ctx context.Context, path, what string, u *ir.Unit) *exec.Cmd {
	env := local.Inherited(w.set.Environ)
	maps.Copy(env, local.Variables(*u))
	cmd := exec.CommandContext(ctx, path, what)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	return cmd
}

// programError says why a program of tenon failed, in its own words where these are one line.
func programError(program, what string, ended error, log string) error {
	text := strings.TrimSpace(log)
	for _, prefix := range []string{"\nerror: ", "\ntenon: "} {
		if _, says, ok := strings.Cut("\n"+text, prefix); ok && !strings.Contains(says, "\n") {
			return errors.New(says)
		}
	}
	return fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), what, ended, text)
}
