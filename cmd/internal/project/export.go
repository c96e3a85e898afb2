package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// ExportOptions say what to export, and how.
type ExportOptions struct {
	To       string // path; the default is a name in the current folder
	Format   string // of a table: "parquet" or "csv"; the default follows from To
	Revision int    // what was deployed after it; 0 is what is deployed
	Force    bool   // replace what is at To
}

// An Exported is what an export wrote.
type Exported struct {
	Unit   string `json:"unit"`
	Port   string `json:"port"`
	Kind   string `json:"kind"`
	Digest string `json:"digest"` // of the artifact
	Format string `json:"format,omitempty"`
	Path   string `json:"path"`
	Rows   int64  `json:"rows,omitempty"`
	// Schema is the columns of a table, as declared when it was made.
	Schema ir.Schema `json:"schema,omitempty"`
}

// Export writes the artifact that a name stands for, UNIT or UNIT.PORT, to a file or
// folder, which then is complete or absent. An entity stands for its only output.
func (w *Workspace) Export(ctx context.Context, name string, o ExportOptions) (*Exported, error) {
	found, err := w.exportable(ctx, o.Revision)
	if err != nil {
		return nil, err
	}
	e, err := found.choose(name)
	if err != nil {
		return nil, err
	}
	if err := e.place(o); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(e.Path); err == nil && info.IsDir() {
		return nil, &RequestError{fmt.Errorf("%s is a folder that exists already: remove it, or choose another name", e.Path)}
	} else if err == nil && !o.Force {
		return nil, existsError(e.Path)
	}
	if err := w.check(ctx, e); err != nil {
		return nil, fmt.Errorf("export %s.%s: %w", e.Unit, e.Port, err)
	}
	if e.Kind == string(ir.Table) {
		if e.Schema, err = found.schema(ctx, e); err != nil && !errors.Is(err, state.ErrNotFound) {
			return nil, err
		}
	}
	from := w.artifacts.Path(e.Digest)
	return e, inPlace(e.Path, "export to "+e.Path, o.Force, func(made string) error {
		if e.Format == "csv" {
			return w.set.SQL.CSV(ctx, from, made)
		}
		return files.CopyTree(ctx, from, made, 0o755, 0o644)
	})
}

// check fetches an artifact and compares it with its digest.
func (w *Workspace) check(ctx context.Context, e *Exported) error {
	if err := w.artifacts.Fetch(ctx, e.Digest); err != nil {
		return err
	}
	return w.artifacts.Check(ctx, e.Digest)
}

func existsError(path string) error {
	return &RequestError{fmt.Errorf("%s exists already: --force replaces it", path)}
}

// place decides the path and the format.
func (e *Exported) place(o ExportOptions) error {
	e.Path, e.Format = o.To, o.Format
	table := e.Kind == string(ir.Table)
	if !table {
		if e.Format != "" {
			return &RequestError{fmt.Errorf("--format is for tables, and %s.%s is a %s", e.Unit, e.Port, e.Kind)}
		}
		if e.Path == "" {
			e.Path = exportName(e)
		}
		return nil
	}
	switch ext := strings.ToLower(filepath.Ext(e.Path)); {
	case e.Format == "" && (e.Path == "" || ext == ".parquet"):
		e.Format = "parquet"
	case e.Format == "" && ext == ".csv":
		e.Format = "csv"
	case e.Format == "":
		return &RequestError{fmt.Errorf("%s does not say whether to write Parquet or CSV: name it .parquet or .csv, or add --format", e.Path)}
	case e.Format != "parquet" && e.Format != "csv":
		return &RequestError{fmt.Errorf("--format is parquet or csv, not %q", e.Format)}
	}
	if e.Path == "" {
		e.Path = exportName(e) + "." + e.Format
	}
	return nil
}

// exportName is the default name: that of the entity, with the port unless it is the
// main one.
func exportName(e *Exported) string {
	entity, _ := ir.SplitID(e.Unit)
	_, name, _ := strings.Cut(entity, "/")
	if e.Port != "out" && e.Kind != string(ir.Model) {
		name += "-" + e.Port
	}
	return name
}

// inPlace lets a function write a file or folder beside its destination, then puts it in
// place.
func inPlace(to, doing string, force bool, write func(made string) error) (err error) {
	tmp, err := os.MkdirTemp(filepath.Dir(to), files.HalfWritten)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer func() { err = errors.Join(err, files.RemoveAll(tmp)) }()
	made := filepath.Join(tmp, "content")
	if err := write(made); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	err = errors.ErrUnsupported
	if info, statErr := os.Lstat(made); statErr == nil && info.Mode().IsRegular() && !force {
		err = os.Link(made, to) // unlike a rename, it replaces nothing
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return existsError(to)
	case err != nil: // a folder, --force, or a file system without links
		err = os.Rename(made, to)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// exportables are the results of units, and the entities that declare some of them as
// outputs.
type exportables struct {
	runs     map[string]state.Run // that made them, by unit
	entities []ir.Entity
	of       string // "what is deployed" or "revision 3"
	// unit returns a unit as it was applied.
	unit func(ctx context.Context, id string) (*ir.Unit, error)
	// now returns the name that a unit has today.
	now func(id string) string
	// failed describes why what a name stands for has no result, or returns nil.
	failed func(name string) error
}

// exportable returns the results after a revision; 0 is what is deployed.
func (w *Workspace) exportable(ctx context.Context, revision int) (*exportables, error) {
	if revision == 0 {
		return w.exportableNow(ctx)
	}
	r, err := w.revision(ctx, revision)
	if err != nil {
		return nil, err
	}
	snap, err := w.deployedAt(ctx, r)
	if err != nil {
		return nil, err
	}
	all, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return nil, err
	}
	renamed := namesSince(*r, all)
	x := &exportables{
		runs: snap.runs, entities: snap.entities, of: fmt.Sprintf("revision %d", revision),
		unit: func(_ context.Context, id string) (*ir.Unit, error) {
			if u := snap.units[id]; u != nil {
				return u, nil
			}
			return nil, fmt.Errorf("unit %s: %w", id, state.ErrNotFound)
		},
		now:    func(id string) string { return cmp.Or(renamed[id], id) },
		failed: func(string) error { return nil }, // the revision completed
	}
	return x, nil
}

func (w *Workspace) exportableNow(ctx context.Context) (*exportables, error) {
	runs, err := w.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	sys := new(ir.System)
	last, err := w.store.Revisions(ctx, 1)
	if err != nil {
		return nil, err
	}
	if len(last) > 0 {
		if found, err := w.system(ctx, &last[0]); err == nil { // otherwise entities have no names for outputs
			sys = found
		}
	}
	return &exportables{
		runs: runs, entities: sys.Entities, of: "what is deployed", unit: w.store.Unit, now: func(id string) string { return id },
		failed: func(name string) error { return w.failed(ctx, sys, name) },
	}, nil
}

// failed returns the error of the first unit of a name whose last run failed, or nil.
func (w *Workspace) failed(ctx context.Context, sys *ir.System, name string) error {
	for _, u := range sys.Units {
		if !slices.Contains([]string{u.ID, u.Entity, strings.ReplaceAll(u.ID, "/", "."), strings.ReplaceAll(u.Entity, "/", ".")}, name) {
			continue
		}
		runs, err := w.store.Runs(ctx, u.ID, 1)
		if err != nil {
			return err
		}
		if len(runs) > 0 && runs[0].Outcome == state.Failure {
			return fmt.Errorf("%s has no result: %s failed in revision @%d: %s; see tenon logs %s", name, u.ID, runs[0].Revision, runs[0].Error, u.ID)
		}
	}
	return nil
}

// schema returns the columns of a table, as its unit declared them.
func (x *exportables) schema(ctx context.Context, e *Exported) (ir.Schema, error) {
	u, err := x.unit(ctx, e.Unit)
	if err != nil {
		return nil, err
	}
	for _, o := range u.Outputs {
		if o.Port == e.Port {
			return o.Schema, nil
		}
	}
	return nil, nil
}

// choose finds the artifact that a name stands for. A dot may replace a slash, as in the
// language.
func (x *exportables) choose(name string) (*Exported, error) {
	type candidate struct{ unit, port string }
	var found, all []candidate
	for _, unit := range slices.Sorted(maps.Keys(x.runs)) {
		for _, port := range slices.Sorted(maps.Keys(x.runs[unit].Outputs)) {
			if x.runs[unit].Outputs[port].Kind == string(ir.EndpointOf) {
				continue
			}
			c := candidate{unit, port}
			all = append(all, c)
			dotted := strings.ReplaceAll(unit, "/", ".")
			switch name {
			case unit, dotted, unit + "." + port, dotted + "." + port:
				found = append(found, c)
			}
		}
	}
	var entities []string // with outputs, in the form of the name
	form := func(id string) string {
		if strings.Contains(name, "/") {
			return id
		}
		return strings.ReplaceAll(id, "/", ".")
	}
	for _, e := range x.entities {
		outputs := len(found)
		for _, o := range e.Outputs {
			if _, ok := x.runs[o.Unit].Outputs[o.Port]; !ok {
				continue
			}
			entities = append(entities, form(e.ID))
			if outputs == 0 && name == form(e.ID) {
				found = append(found, candidate{o.Unit, o.Port})
			}
		}
		if len(found) == 0 && name == form(e.ID) { // its units
			found = slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return !strings.HasPrefix(c.unit, e.ID+"/") })
		}
	}
	switch len(found) {
	case 0:
		if err := x.failed(name); err != nil {
			return nil, err
		}
		names := slices.Clone(entities)
		for _, c := range all {
			names = append(names, form(c.unit), form(c.unit)+"."+c.port)
		}
		hint := ""
		if near := diag.Nearest(name, names); near != "" {
			hint = fmt.Sprintf(": did you mean %q?", near)
		} else if list := diag.DidYouMean(name, slices.Compact(entities)); list != "" {
			hint = ": " + list
		}
		return nil, fmt.Errorf("there is no artifact %s in %s%s", name, x.of, hint)
	case 1:
		art := x.runs[found[0].unit].Outputs[found[0].port]
		return &Exported{Unit: found[0].unit, Port: found[0].port, Kind: art.Kind, Digest: art.Digest, Rows: art.Rows}, nil
	}
	var names []string
	for _, c := range found {
		names = append(names, c.unit+"."+c.port)
	}
	return nil, &RequestError{fmt.Errorf("%s has several outputs: name one of %s", name, strings.Join(names, ", "))}
}
