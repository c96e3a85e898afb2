package project

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// lookTime is how long one look may take, without the time to make its environment.
const lookTime = time.Minute

// A Looked is what a look at the data of a unit found.
type Looked struct {
	Unit    string    `json:"unit"`
	Skipped string    `json:"skipped,omitempty"` // why nobody looked
	Faults  diag.List `json:"faults,omitempty"`
}

// Look compares the data that units fetch from elsewhere with their schemas, without reading
// it: each program runs in its own environment on this machine, in a state of its own, with
// its secrets and the parameter look.
func (p *Project) Look(ctx context.Context, r *compiler.Result) (looked []Looked, err error) {
	sys := &ir.System{Version: ir.Version, Name: "look", Target: localTarget}
	for _, u := range r.System.Units {
		if u.Looks == "" {
			continue
		}
		found := Looked{Unit: u.ID}
		if found.Skipped = p.unseen(&u); found.Skipped == "" {
			if err := p.secrets(&u); err != nil {
				found.Faults = diag.List{lookFault(r.System, &u, u.SecretField(u.Secrets[0]), err.Error(), "")}
			} else if u, err = looking(u); err != nil {
				return nil, err
			} else {
				sys.Units = append(sys.Units, u)
			}
		}
		looked = append(looked, found)
	}
	if len(sys.Units) == 0 {
		return looked, nil
	}
	seen, err := p.look(ctx, sys, r.Blobs)
	if err != nil {
		return nil, err
	}
	for i, l := range looked {
		u := r.System.Unit(l.Unit)
		if s, ok := seen[l.Unit]; ok && s.err != nil {
			looked[i].Faults = diag.List{lookFault(r.System, u, u.Looks, fmt.Sprintf("the data of %s cannot be read: %v", dotted(u.Entity), s.err), "")}
		} else if ok {
			looked[i].Faults = lookFaults(r.System, u, s.look)
		}
	}
	return looked, nil
}

var localTarget = ir.Target{Name: "local", Executor: all.Default}

// unseen says why this machine cannot run a look of a unit, or returns "".
func (p *Project) unseen(u *ir.Unit) string {
	switch {
	case u.Code.Image != "":
		return "it runs in an image of its own"
	case slices.ContainsFunc(u.Secrets, func(s ir.Secret) bool { return s.Kubernetes != nil }):
		return "its secrets are in the cluster"
	}
	return ""
}

// secrets checks that the secrets of a unit are there.
func (p *Project) secrets(u *ir.Unit) error {
	for _, s := range u.Secrets {
		if _, err := p.secret(s); err != nil {
			return fmt.Errorf("the data of %s was not checked: secret %s: %w", dotted(u.Entity), s.Name, err)
		}
	}
	return nil
}

// looking returns the unit that only looks at the data of another one.
func looking(u ir.Unit) (ir.Unit, error) {
	params := map[string]json.RawMessage{}
	if err := json.Unmarshal(u.Params, &params); err != nil {
		return u, fmt.Errorf("the parameters of %s: %w", u.ID, err)
	}
	params["look"] = json.RawMessage("true")
	b, err := json.Marshal(params)
	if err != nil {
		return u, err
	}
	u.Params, u.Inputs, u.Retries, u.MaxAge, u.Timeout = b, nil, 0, 0, lookTime
	u.Needs, u.Pool, u.Team, u.Kubernetes, u.Network = ir.Resources{}, "", "", nil, ir.NetworkUnsaid
	u.Outputs = slices.Clone(u.Outputs)
	for i := range u.Outputs {
		o := &u.Outputs[i]
		*o = ir.Output{Port: o.Port, Kind: ir.File, Schema: o.Schema}
	}
	return u, u.Define()
}

type sight struct {
	look step.Look
	err  error
}

// look runs units in a state of their own.
func (p *Project) look(ctx context.Context, sys *ir.System, blobs map[string][]byte) (seen map[string]sight, err error) {
	dir, err := os.MkdirTemp("", "tenon-look-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, files.RemoveAll(dir)) }()
	s := p.set
	s.Dir, s.State, s.Artifacts, s.Tags = dir, filepath.Join(dir, "state"), "", nil
	w, err := New(s).Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	plan, err := w.Plan(ctx, &compiler.Result{System: sys, Blobs: blobs}, PlanOptions{})
	if err != nil {
		return nil, err
	}
	session, err := w.Lock(ctx, "tenon plan --check-data", 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Release(ctx)) }()
	result, failed := session.Apply(ctx, plan, ApplyOptions{Events: func(e executors.Event) {
		switch e.Type {
		case executors.EventStarted:
			p.set.notify(Notice{Text: "looking at the data of " + dotted(e.Unit)})
		case executors.EventPreparing:
			p.set.notify(Notice{Text: "preparing " + e.What})
		}
	}})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	seen = map[string]sight{}
	if result != nil {
		for _, f := range result.Failed {
			seen[f.Unit] = sight{err: said(f)}
		}
	}
	if failed != nil && len(seen) == 0 {
		return nil, failed
	}
	for _, u := range sys.Units {
		if seen[u.ID].err != nil {
			continue
		}
		found, err := w.Units(ctx, u.ID)
		if err != nil {
			return nil, err
		}
		b, err := os.ReadFile(found[0].Artifacts[u.Outputs[0].Port])
		var l step.Look
		if err == nil {
			err = json.Unmarshal(b, &l)
		}
		if err != nil {
			err = fmt.Errorf("its program does not say what it found: %w", err)
		}
		seen[u.ID] = sight{l, err}
	}
	return seen, nil
}

// lookFaults describes what a look found.
func lookFaults(sys *ir.System, u *ir.Unit, l step.Look) (faults diag.List) {
	entity := dotted(u.Entity)
	var undeclared []string
	for _, c := range l.Columns {
		if u.Outputs[0].Schema.Column(c) == nil {
			undeclared = append(undeclared, c)
		}
	}
	named := map[string]bool{} // undeclared columns that a missing one may be
	for _, f := range l.Faults {
		if f.Extra && named[f.Column] {
			continue
		}
		field := u.Looks
		if f.Column != "" && !f.Extra {
			field = ir.JoinPath("schema", f.Column)
		}
		d := lookFault(sys, u, field, fmt.Sprintf("the data of %s: %s", entity, f.Text), f.Hint)
		switch {
		case f.Missing:
			d.Message = fmt.Sprintf("the data of %s has no column %q", entity, f.Column)
			d.Found = strings.Join(l.Columns, ", ")
			if near := diag.Nearest(f.Column, undeclared); near != "" && f.Hint == "" {
				named[near] = true
				d.Hint = fmt.Sprintf("did you mean %q? Names must match exactly", near)
			}
		case f.Extra:
			d.Message = fmt.Sprintf("the data of %s has a column %q that its schema does not declare", entity, f.Column)
			d.Hint = cmp.Or(f.Hint, "declare it, or leave it out of the data")
		case f.Column != "":
			d.Message = fmt.Sprintf("the data of %s does not fit the declared column %q: %s", entity, f.Column, f.Text)
		}
		faults = append(faults, d)
	}
	return faults
}

// lookFault returns a fault at a field of a unit's entity.
func lookFault(sys *ir.System, u *ir.Unit, field, message, hint string) diag.Diagnostic {
	at := diag.Pos(u.Pos)
	if e := sys.Entity(u.Entity); e != nil {
		place := strings.Split(e.Place(field), ":")
		if n := len(place); n >= 3 {
			line, err1 := strconv.Atoi(place[n-2])
			col, err2 := strconv.Atoi(place[n-1])
			if err1 == nil && err2 == nil {
				at = diag.Pos{File: strings.Join(place[:n-2], ":"), Line: line, Col: col}
			}
		}
	}
	return diag.Diagnostic{Message: message, Hint: hint, Spans: []diag.Span{{Pos: at}}}
}

// dotted returns the id of an entity as the language writes it.
func dotted(entity string) string { return strings.Replace(entity, "/", ".", 1) }

// LookError returns the faults that a look found, or nil.
func (p *Project) LookError(looked []Looked) error {
	var faults diag.List
	for _, l := range looked {
		faults = append(faults, l.Faults...)
	}
	if len(faults) == 0 {
		return nil
	}
	return &SourceError{Faults: faults.Sort(), Source: func(file string) []byte {
		b, _ := os.ReadFile(filepath.Join(p.set.Dir, file))
		return b
	}}
}
