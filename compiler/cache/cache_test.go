package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// sql types the queries of all tests.
var sql = new(engine.Engine)

const moduleFile = `module: "acme.example/system@v0"
language: version: "v0.17.0"
deps: "tenon.dev@v0": {v: "v0.1.0", default: true}
`

// systems compiles the systems of the compiler's archives.
func systems(t *testing.T) map[string]*compiler.Result {
	archives, err := filepath.Glob("../testdata/systems/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	results := map[string]*compiler.Result{}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, f := range append(a.Files, txtar.File{Name: "cue.mod/module.cue", Data: []byte(moduleFile)}) {
			to := filepath.Join(dir, filepath.FromSlash(f.Name))
			if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, f.Data, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		var tags []string
		for line := range strings.Lines(string(a.Comment)) {
			if tag, ok := strings.CutPrefix(strings.TrimSpace(line), "tag: "); ok {
				tags = append(tags, tag)
			}
		}
		sys, err := lang.Load(dir, lang.Options{Tags: tags, Env: os.Environ()})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		r, err := compiler.Compile(context.Background(), sys, compiler.Options{
			Describe:  sql.Describe,
			Bind:      sql.Bind,
			Prices:    func() (*prices.File, error) { return prices.Open(sys.Dir) },
			Executors: map[string]func(ir.Target, ir.Unit) []ir.Fault{"process": nil, "kubernetes": nil}, Default: "process",
			Lock: func(_ context.Context, r []string) ([]byte, error) { return []byte(strings.Join(r, "\n")), nil },
		})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		results[filepath.Base(path)] = r
	}
	return results
}

func TestEverySystemIsReadAsItWasWritten(t *testing.T) {
	for name, r := range systems(t) {
		b, err := encode(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := new(compiler.Result)
		if err := decode(b, got); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("%s: (-written +read)\n%s", name, diff)
		}
		want, err := json.Marshal(r.System)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := json.Marshal(got.System); err != nil || !bytes.Equal(want, have) {
			t.Errorf("%s: it marshals to something else (%v)", name, err)
		}
		again, err := encode(got)
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%s: what was read is written differently (%v)", name, err)
		}
	}
}

// Fields that no system of the archives fills are kept as well.
func TestEveryFieldIsKept(t *testing.T) {
	var r compiler.Result
	fill(reflect.ValueOf(&r).Elem(), new(int))
	b, err := encode(&r)
	if err != nil {
		t.Fatal(err)
	}
	var got compiler.Result
	if err := decode(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
}

func TestEntitiesAreKept(t *testing.T) {
	var entities Entities
	fill(reflect.ValueOf(&entities).Elem(), new(int))
	e, reports := place(t)
	if e.GetEntities() != nil {
		t.Error("there are entities before some were kept")
	}
	e.PutEntities(&entities)
	if diff := cmp.Diff(&entities, e.GetEntities()); diff != "" || len(*reports) > 0 {
		t.Errorf("%v (-kept +found)\n%s", *reports, diff)
	}
	b, err := os.ReadFile(e.entities())
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2]++
	if err := os.WriteFile(e.entities(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if e.GetEntities() != nil || len(*reports) != 1 {
		t.Errorf("a damaged file is used, with %v", *reports)
	}
	if _, err := os.Stat(e.entities()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged file is kept: %v", err)
	}
}

// fill gives everything below v a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n * 1000 * (1 - *n%2*2)))
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Float64:
		v.SetFloat(float64(*n) / 7)
	case reflect.Uint8:
		v.SetUint(uint64(*n % 256))
	case reflect.Interface:
		v.Set(reflect.ValueOf(map[string]any{"a": []any{json.Number("1.0"), nil, true}, "b": map[string]any{}}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			x := reflect.New(v.Type().Elem()).Elem()
			fill(x, n)
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint("key ", *n)), x)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic("there is a new kind of field: " + v.Type().String())
	}
}

func TestSharedFilesAreWrittenOnce(t *testing.T) {
	schema := ir.Schema{{Name: "id", Type: "int64"}, {Name: "age", Type: "int64"}}
	r := &compiler.Result{System: &ir.System{Units: []ir.Unit{
		{Outputs: []ir.Output{{Schema: schema}}}, {Inputs: []ir.Input{{Schema: schema}}}, {Inputs: []ir.Input{{Schema: ir.Schema{}}}},
	}}}
	b, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("int64")); n != 1 {
		t.Errorf("a text is written %d times", n)
	}
	var got compiler.Result
	if err := decode(b, &got); err != nil {
		t.Fatal(err)
	}
	u := got.System.Units
	if &u[0].Outputs[0].Schema[0] != &u[1].Inputs[0].Schema[0] {
		t.Error("the schema is there twice")
	}
	if u[2].Inputs[0].Schema == nil {
		t.Error("an empty schema has become none")
	}
}

func FuzzDecode(f *testing.F) {
	var full compiler.Result
	fill(reflect.ValueOf(&full).Elem(), new(int))
	for _, r := range []*compiler.Result{small, &full} {
		b, err := encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r compiler.Result
		if decode(b, &r) != nil {
			return
		}
		// Intact data can be stored again.
		b, err := encode(&r)
		if err != nil {
			t.Fatal(err)
		}
		var again compiler.Result
		if err := decode(b, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("(-read +read again)\n%s", diff)
		}
	})
}

func FuzzOpen(f *testing.F) {
	head, err := encode(&[]fingerprint.Read{{Path: "/a", Kind: fingerprint.Absent}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seal(head, nil)[32:])
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = open(seal(nil, b))
		_, _, _ = open(b)
	})
}

// place returns an entry in a new folder, and the messages that it reports.
func place(t *testing.T) (e *Entry, reports *[]string) {
	t.Helper()
	reports = new([]string)
	e, err := Open(filepath.Join(t.TempDir(), "cache"), "key", func(err error) { *reports = append(*reports, err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	return e, reports
}

var (
	nothing = []fingerprint.Read{{Path: "/there/is/nothing", Kind: fingerprint.Absent}}
	small   = &compiler.Result{System: &ir.System{Version: ir.Version, Name: "small", Units: []ir.Unit{{ID: "sources/a"}}}}
)

func TestResultFilesArePrivate(t *testing.T) {
	e, reports := place(t)
	if e.Get() != nil {
		t.Error("there is a result before one was kept")
	}
	e.Put(nothing, small)
	if diff := cmp.Diff(small, e.Get()); diff != "" {
		t.Errorf("(-kept +found)\n%s", diff)
	}
	if info, err := os.Stat(e.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if len(*reports) > 0 {
		t.Error(*reports)
	}
}

func TestWithoutReadsNothingIsKept(t *testing.T) {
	e, _ := place(t)
	e.Put(nil, small)
	if _, err := os.Stat(filepath.Dir(e.path)); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was written")
	}
}

func TestDamagedEntryIsDroppedAndReported(t *testing.T) {
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return b[:10] },
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		func(b []byte) []byte { b[0] ^= 1; return b },
		func(b []byte) []byte { return append(b, 0) },
	} {
		e, reports := place(t)
		e.Put(nothing, small)
		b, err := os.ReadFile(e.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(e.path, damage(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if e.Get() != nil {
			t.Error("a damaged entry was taken")
		}
		if want := []string{"drop the cache " + e.path + ": it is damaged"}; !reflect.DeepEqual(*reports, want) {
			t.Errorf("reports %q, want %q", *reports, want)
		}
		if _, err := os.Stat(e.path); !errors.Is(err, os.ErrNotExist) {
			t.Error("it is still there")
		}
	}
}

func TestFailedWriteIsReported(t *testing.T) {
	e, reports := place(t)
	if err := os.WriteFile(filepath.Dir(e.path), nil, 0o600); err != nil { // a file in place of the folder
		t.Fatal(err)
	}
	e.Put(nothing, small)
	if len(*reports) != 1 || !strings.HasPrefix((*reports)[0], "cannot cache the compiled system: ") {
		t.Errorf("reports %q", *reports)
	}
}

func TestTheNewestEntriesStay(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for i := range most + 3 {
		e, err := Open(dir, i, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		e.Put(nothing, small)
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(e.path, at, at); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, e.path)
	}
	for i, p := range paths {
		if _, err := os.Stat(p); (err == nil) != (i >= 3) {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}
