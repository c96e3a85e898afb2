package compiler

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// headFiles is how many files of a source are compared with its schema: a pattern may match
// thousands.
const headFiles = 3

// A filed is a stage with data files whose format the compiler knows.
type filed struct {
	entity *entity
	stage  *stage
	fault  *duck.FileError
	asks   bool                // for times
	times  map[string][2]int64 // of columns, see [duck.HeadResult]
	files  []string
	read   map[string]bool // columns of texts that were read to the end
}

// readHeads begins to compare data files with the schemas of their sources. The returned
// function waits for the result.
func (c *checker) readHeads() (wait func() ([]filed, error)) {
	if c.options.Heads == nil {
		return func() ([]filed, error) { return nil, nil }
	}
	var all []filed
	asks := c.splitsByTime()
	for _, id := range c.order {
		e := c.entities[id]
		if c.broken[id] || e.outs["out"] == nil {
			continue
		}
		for i := range e.component.stages {
			if s := &e.component.stages[i]; s.Reads != "" {
				all = append(all, filed{entity: e, stage: s, asks: asks})
			}
		}
	}
	done := make(chan struct{})
	var err error
	ctx, cancel := context.WithCancel(c.ctx)
	go func() {
		defer close(done)
		err = c.compareHeads(ctx, all)
	}()
	return func() ([]filed, error) { defer cancel(); <-done; return all, err }
}

func (c *checker) compareHeads(ctx context.Context, all []filed) error {
	var heads []duck.Head
	var of []int
	for i := range all {
		h, ok := c.head(&all[i])
		if ok {
			heads, of = append(heads, h), append(of, i)
		}
	}
	if len(heads) == 0 {
		return nil
	}
	results, err := c.options.Heads(ctx, heads)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // the source fails in the same way when it runs
		c.options.Tracker.Cannot("data files were not compared: " + err.Error())
		return nil
	}
	for i, r := range results {
		f := &all[of[i]]
		f.fault, f.times, f.files = r.Fault, r.Times, heads[i].Files
	}
	return nil
}

// head returns what to read of the files of a source. A file that does not exist is no fault
// here: a system may be compiled where its data is not.
func (c *checker) head(f *filed) (duck.Head, bool) {
	h := duck.Head{Source: duck.Source{Format: f.stage.Reads}, Schema: f.entity.outs["out"].schema, All: true, Times: f.asks}
	var params object
	for _, p := range f.stage.Params {
		if v, ok := f.entity.fields.find(p); ok {
			params = params.with(lastOf(p), v)
		}
	}
	if h.Format == "csv" && json.Unmarshal(params.json(), &h.CSV) != nil {
		return h, false // the component reports it
	}
	for _, field := range f.stage.Files {
		pattern := filepath.ToSlash(stringOf(f.entity.fields.at(field)))
		found, _ := c.options.Files(c.sys.Dir, []string{pattern})
		c.trackFiles(pattern, found[pattern])
		h.Files = append(h.Files, found[pattern]...)
	}
	slices.Sort(h.Files)
	h.Files = slices.Compact(h.Files)
	if len(h.Files) > headFiles {
		h.Files, h.All = h.Files[:headFiles], false
	}
	for i, file := range h.Files {
		at := c.onDisk(file)
		info, err := os.Stat(at)
		if err != nil || !info.Mode().IsRegular() {
			return h, false
		}
		if h.Format == "csv" {
			c.options.Tracker.FirstLine(at) // other rows than the first may come at any time
		} else {
			c.options.Tracker.Looks(at, info)
		}
		h.Files[i] = at
	}
	return h, len(h.Files) > 0
}

// trackFiles notes which folders decide what a pattern matches.
func (c *checker) trackFiles(pattern string, found []string) {
	if len(found) == 1 && found[0] == path.Clean(pattern) {
		return
	}
	if len(found) == 0 && !strings.ContainsAny(pattern, `*?[\`) {
		c.options.Tracker.Absent(c.onDisk(pattern))
		return
	}
	base := path.Clean(pattern)
	for strings.ContainsAny(base, `*?[\`) {
		base = path.Dir(base)
	}
	folders := map[string]bool{base: true}
	for _, file := range found {
		for dir := path.Dir(file); !folders[dir] && len(dir) > len(base); dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	for dir := range folders {
		at := c.onDisk(dir)
		entries, err := os.ReadDir(at)
		if err != nil {
			c.options.Tracker.Absent(at)
			continue
		}
		var names []string
		for _, e := range entries {
			if fingerprint.Counts(e.Name()) {
				names = append(names, e.Name())
			}
		}
		c.options.Tracker.Names(at, names)
	}
}

// onDisk returns where a data file is.
func (c *checker) onDisk(file string) string {
	native := filepath.FromSlash(file)
	if filepath.IsAbs(native) {
		return native
	}
	return filepath.Join(c.sys.Dir, native)
}

// checkFiles reports files that are not what their sources declare.
func (c *checker) checkFiles(wait func() ([]filed, error)) error {
	all, err := wait()
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.fault != nil && !c.broken[f.entity.id()] {
			c.fail(f.entity, c.fileFault(f))
		}
		if f.fault == nil && f.asks {
			c.times[f.entity.id()] = f
		}
	}
	return nil
}

// smallTexts limits the size of texts that are read to the end, in bytes of all files of a
// source, and textRanges how many columns of such texts are read in a compilation.
const (
	smallTexts = 2 << 20
	textRanges = 8
)

// timesOf returns the first and the last time of a column of a source, if its files tell:
// Parquet files by their statistics, and texts if they are small.
func (c *checker) timesOf(o *out, column string) (f filed, times [2]int64, known bool, err error) {
	f, ok := c.times[o.entity.id()]
	if times, known = f.times[column]; !ok || known || o.entity.outs["out"] != o || f.read[column] || c.ranges == textRanges {
		return f, times, known, nil
	}
	h, ok := c.head(&f)
	h.Range = column
	if !ok || !h.All || h.Format != "csv" && h.Format != "json" {
		return f, times, false, nil
	}
	size := int64(0)
	for _, file := range h.Files {
		info, err := os.Stat(file)
		if err != nil {
			return f, times, false, nil
		}
		if size += info.Size(); size > smallTexts {
			return f, times, false, nil
		}
		c.options.Tracker.Looks(file, info) // all rows count
	}
	c.ranges++
	results, err := c.options.Heads(c.ctx, []duck.Head{h})
	if c.ctx.Err() != nil {
		return f, times, false, c.ctx.Err()
	}
	if err != nil {
		c.options.Tracker.Cannot("data files were not read: " + err.Error())
		return f, times, false, nil
	}
	if f.read == nil {
		f.read, f.times = map[string]bool{}, map[string][2]int64{}
	}
	f.files, f.read[column] = h.Files, true
	if times, known = results[0].Times[column]; known {
		f.times[column] = times
	}
	c.times[o.entity.id()] = f
	return f, times, known, nil
}

// named returns a file as the user knows it.
func (c *checker) named(file string) string {
	if rel, err := filepath.Rel(c.sys.Dir, file); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return file
}

func (c *checker) fileFault(f filed) diag.Diagnostic {
	e, fault := f.entity, f.fault
	file := c.named(fault.File)
	d := diag.Diagnostic{Message: file + ": " + fault.Text, Hint: fault.Hint}
	near := c.nearName(f)
	if fault.Missing || near != nil {
		d.Message = fmt.Sprintf("%s has no column %q", file, fault.Column)
	}
	if fault.Option != "" {
		for _, p := range f.stage.Params {
			if at := e.path(strings.Split(p, ".")...); lastOf(p) == fault.Option && c.sys.Written(at...) {
				d.Spans = append(d.Spans, c.sys.Label("", at...))
			}
		}
	}
	if fault.Column != "" {
		at := c.columnSpan(e, fault.Column)
		if name := e.path("schema", fault.Column); d.Message != file+": "+fault.Text && c.sys.Written(name...) {
			at = c.sys.Label("", name...) // it is about the name
		}
		at.Label = ""
		d.Spans = append(d.Spans, at)
	}
	if len(d.Spans) == 0 {
		d.Spans = append(d.Spans, c.sys.Label("", e.path(f.stage.Files[0])...))
	}
	place := diag.Span{Pos: diag.Pos{File: file, Line: fault.Line, Col: fault.Col}, Len: fault.Len}
	if near != nil {
		d.Hint = ""
		place.Line, place.Col, place.Len = near.Line, near.Col, near.Len
		place.Label = "did you mean this one? Names must match exactly"
		if near.Line == 0 {
			place.Label = fmt.Sprintf("did you mean its column %q? Names must match exactly", near.Name)
		}
	} else if fault.Missing {
		c.explainMissing(&d, f)
	}
	if place.Line > 0 {
		c.excerpt(place, fault.Excerpt)
	}
	d.Spans = append(d.Spans, place)
	return d
}

// nearName returns the column of the file that a missing one may be.
func (c *checker) nearName(f filed) *duck.Name {
	if f.fault.Delimiter != "" {
		return nil
	}
	var names []string
	schema := f.entity.outs["out"].schema
	for i, n := range f.fault.Names {
		if strings.EqualFold(strings.TrimSpace(n.Name), f.fault.Column) {
			return &f.fault.Names[i]
		}
		if schema.Column(n.Name) == nil {
			names = append(names, n.Name)
		}
	}
	if len(f.fault.Column) < 3 { // every short name resembles every other
		return nil
	}
	near := diag.Nearest(f.fault.Column, names)
	at := slices.IndexFunc(f.fault.Names, func(n duck.Name) bool { return n.Name == near })
	if near == "" || at < 0 {
		return nil
	}
	return &f.fault.Names[at]
}

// explainMissing says what else there is where no column is near.
func (c *checker) explainMissing(d *diag.Diagnostic, f filed) {
	switch {
	case f.fault.Delimiter != "":
		d.Hint = fmt.Sprintf("the fields seem to be separated by %q: declare delimiter: %q", f.fault.Delimiter, f.fault.Delimiter)
	case f.fault.Headless:
		d.Hint = "if the file has no header, declare header: false, and columns: [...] with the names of all its columns in order"
	default:
		var names []string
		for _, n := range f.fault.Names {
			names = append(names, n.Name)
		}
		const shown = 20
		d.Found = strings.Join(names[:min(len(names), shown)], ", ")
		if len(names) > shown {
			d.Found += fmt.Sprintf(" and %d more", len(names)-shown)
		}
		if e := f.entity; e.string("encoding") == "utf-16" {
			d.Hint = "if the file is UTF-8, leave out encoding"
			d.Spans = append(d.Spans, c.sys.Label("", e.path("encoding")...))
		}
	}
}

// excerpt keeps the line of a data file for the excerpt, as far as it is worth showing.
func (c *checker) excerpt(at diag.Span, line string) {
	const most = 160
	end := at.Col + at.Len
	if end > most {
		return
	}
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "..."
	}
	c.sys.Files[at.File] = []byte(strings.Repeat("\n", at.Line-1) + line)
}
