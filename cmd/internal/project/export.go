package project

import (
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
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/lang/diag"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// ExportOptions say what to export, and how.
type ExportOptions struct {
	To       string // path; the default is a name in the current folder
	Format   string // of a table: "parquet" or "csv"; the default follows from To
	Revision int    // what stood after it; 0 is what is deployed
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
}

// Export writes the artifact that a name stands for, UNIT or UNIT.PORT, to a file or
// folder, which then is whole or not there. An entity stands for its only output.
func (w *Workspace) Export(ctx context.Context, name string, o ExportOptions) (*Exported, error) {
	found, err := w.exportable(ctx, o.Revision)
	if err != nil {
		return nil, err
	}
	e, art, err := found.choose(name)
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
	if err := w.artifacts.Fetch(ctx, art.Digest); err != nil {
		return nil, err
	}
	if err := w.artifacts.Check(ctx, art.Digest); err != nil {
		return nil, fmt.Errorf("export %s.%s: %w", e.Unit, e.Port, err)
	}
	return e, w.export(ctx, e, w.artifacts.Path(art.Digest), o.Force)
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

// export writes an artifact beside its destination, then puts it in place.
func (w *Workspace) export(ctx context.Context, e *Exported, from string, force bool) (err error) {
	dir := filepath.Dir(e.Path)
	tmp, err := os.MkdirTemp(dir, files.HalfWritten)
	if err != nil {
		return fmt.Errorf("export to %s: %w", e.Path, err)
	}
	defer func() { err = errors.Join(err, files.RemoveAll(tmp)) }()
	made := filepath.Join(tmp, "content")
	if e.Format == "csv" {
		err = w.set.SQL.CSV(ctx, from, made)
	} else {
		err = files.CopyTree(ctx, from, made, 0o755, 0o644)
	}
	if err != nil {
		return fmt.Errorf("export to %s: %w", e.Path, err)
	}
	err = errors.ErrUnsupported
	if info, statErr := os.Lstat(made); statErr == nil && info.Mode().IsRegular() && !force {
		err = os.Link(made, e.Path) // unlike a rename, it replaces nothing
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return existsError(e.Path)
	case err != nil: // a folder, --force, or a file system without links
		err = os.Rename(made, e.Path)
	}
	if err != nil {
		return fmt.Errorf("export to %s: %w", e.Path, err)
	}
	return nil
}

// exportables are the artifacts of units, and the entities that declare some of them as
// outputs.
type exportables struct {
	outputs  map[string]map[string]artifact.Artifact // by unit and port
	entities []ir.Entity
	of       string // "what is deployed" or "revision @3"
}

func (w *Workspace) exportable(ctx context.Context, revision int) (*exportables, error) {
	var stood *standing
	var err error
	if revision == 0 {
		stood, err = w.standing(ctx)
	} else {
		var r *state.Revision
		if r, err = w.revision(ctx, revision); err == nil {
			stood, err = w.standingAt(ctx, r)
		}
	}
	if err != nil {
		return nil, err
	}
	x := &exportables{outputs: map[string]map[string]artifact.Artifact{}, entities: stood.entities, of: stood.String()}
	for unit, run := range stood.runs {
		x.outputs[unit] = run.Outputs
	}
	return x, nil
}

// choose finds the artifact that a name stands for. A dot may replace a slash, as in the
// language.
func (x *exportables) choose(name string) (*Exported, artifact.Artifact, error) {
	type candidate struct{ unit, port string }
	var found, all []candidate
	for _, unit := range slices.Sorted(maps.Keys(x.outputs)) {
		for _, port := range slices.Sorted(maps.Keys(x.outputs[unit])) {
			if x.outputs[unit][port].Kind == string(ir.EndpointOf) {
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
	for _, e := range x.entities {
		if len(found) > 0 || name != e.ID && name != strings.ReplaceAll(e.ID, "/", ".") {
			continue
		}
		for _, o := range e.Outputs {
			if _, ok := x.outputs[o.Unit][o.Port]; ok {
				found = append(found, candidate{o.Unit, o.Port})
			}
		}
		if len(found) == 0 { // its units
			found = slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return !strings.HasPrefix(c.unit, e.ID+"/") })
		}
	}
	var names []string
	for _, c := range found {
		names = append(names, c.unit+"."+c.port)
	}
	switch len(found) {
	case 0:
		for _, c := range all {
			names = append(names, c.unit+"."+c.port)
		}
		hint := ""
		if near := diag.DidYouMean(name, names); near != "" {
			hint = ": " + near
		}
		return nil, artifact.Artifact{}, fmt.Errorf("there is no artifact %s in %s%s", name, x.of, hint)
	case 1:
		art := x.outputs[found[0].unit][found[0].port]
		return &Exported{Unit: found[0].unit, Port: found[0].port, Kind: art.Kind, Digest: art.Digest, Rows: art.Rows}, art, nil
	}
	return nil, artifact.Artifact{}, &RequestError{fmt.Errorf("%s has several outputs: name one of %s", name, strings.Join(names, ", "))}
}
