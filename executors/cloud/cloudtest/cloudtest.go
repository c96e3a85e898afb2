// Package cloudtest has what the tests of infrastructure in clouds share: units, random systems of
// them, and what the files that are written are compared with.
package cloudtest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
	"github.com/tenon-ml/tenon/internal/test/tfschema"
)

// Job returns a job with an output.
func Job(id string, change func(*ir.Unit)) ir.Unit {
	entity, _ := ir.SplitID(id)
	u := ir.Unit{ID: id, Entity: entity, Kind: ir.Job, Code: ir.Code{Runtime: ir.Command, Command: []string{"run"}}, Outputs: []ir.Output{{Port: "out", Kind: ir.Table}}}
	if change != nil {
		change(&u)
	}
	return u
}

// Service returns a deployment of a model.
func Service(name string, change func(*ir.Unit)) ir.Unit {
	return Job("deployments/"+name, func(u *ir.Unit) {
		u.Kind, u.Outputs, u.Endpoint = ir.Service, []ir.Output{{Port: "endpoint", Kind: ir.EndpointOf}}, &ir.Endpoint{Host: "0.0.0.0", Port: 8080, Ready: "/readyz", Replicas: 1}
		u.Inputs = []ir.Input{{Port: "model", Unit: "models/late/register", From: "model", Kind: ir.Model}}
		if change != nil {
			change(u)
		}
	})
}

// SLO returns a record with objectives of a unit.
func SLO(name, on, objectives string) ir.Unit {
	return ir.Unit{ID: "slos/" + name, Entity: "slos/" + name, Kind: ir.Record, Code: ir.Code{Runtime: ir.Builtin}, Params: json.RawMessage(`{"objectives":` + objectives + `}`),
		Inputs: []ir.Input{{Port: "on", Unit: on, From: "endpoint", Kind: ir.EndpointOf}}, Outputs: []ir.Output{{Port: "rules", Kind: ir.File}}}
}

// Texts returns files as strings.
func Texts(files map[string][]byte) map[string]string {
	out := map[string]string{}
	for name, b := range files {
		out[name] = string(b)
	}
	return out
}

// Write returns what is written for a system, by name.
func Write(t testing.TB, docs []terraform.Document, err error) map[string][]byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, d := range docs {
		if !terraform.Written(d.Content) {
			t.Errorf("%s does not say that tenon has written it", d.Name)
		}
		files[d.Name] = d.Content
	}
	return files
}

// Golden compares files with those of a folder, which it writes first if update is true.
func Golden(t *testing.T, dir string, files map[string][]byte, update bool) {
	t.Helper()
	for name, text := range files {
		if strings.HasSuffix(name, ".tf") && !bytes.Equal(hclwrite.Format(text), text) {
			t.Errorf("%s is not formatted", name)
		}
	}
	if update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if want[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(Texts(want), Texts(files)); diff != "" {
		t.Errorf("TENON_UPDATE=1 accepts what is written now (-want +got):\n%s", diff)
	}
}

// Lacks checks that no file has one of some texts.
func Lacks(t *testing.T, files map[string][]byte, never ...string) {
	t.Helper()
	for name, text := range files {
		for _, x := range never {
			if bytes.Contains(text, []byte(x)) {
				t.Errorf("%s has %s", name, x)
			}
		}
	}
}

// Schema returns the schema in testdata.
func Schema(t testing.TB) tfschema.Schema {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := tfschema.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Fits compares the files of systems with the schema, which is of the version that they request. Together
// they use all types of the schema, so that it has none in vain.
func Fits(t *testing.T, systems map[string]map[string][]byte, requested string) {
	t.Helper()
	s, used := Schema(t), map[string]bool{}
	if want := strings.TrimPrefix(requested, "~> "); !strings.HasPrefix(s.Version, want+".") {
		t.Errorf("the schema is of provider %s, and the files request %s", s.Version, requested)
	}
	for name, files := range systems {
		delete(files, "README.md")
		for _, fault := range s.Check(files) {
			t.Errorf("%s: %s", name, fault)
		}
		for kind := range s.Types {
			block, plain, _ := strings.Cut(kind, "data.")
			for _, text := range files {
				if block == kind && bytes.Contains(text, []byte("resource \""+kind+"\"")) || block == "" && bytes.Contains(text, []byte("data \""+plain+"\"")) {
					used[kind] = true
				}
			}
		}
	}
	for kind := range s.Types {
		if !used[kind] {
			t.Errorf("nothing of the type %s is written", kind)
		}
	}
}

// A Fault is a change of a file that the schema does not allow: the name of the file, what is replaced, by
// what, and what the error says.
type Fault [4]string

// Faults checks that a misspelled attribute, a missing one, an unknown type and others are found in files,
// which write returns.
func Faults(t *testing.T, write func() map[string][]byte, all ...Fault) {
	t.Helper()
	for _, c := range all {
		files, name := write(), c[0]
		delete(files, "README.md")
		changed := bytes.Replace(files[name], []byte(c[1]), []byte(c[2]), 1)
		if bytes.Equal(changed, files[name]) {
			t.Fatalf("%s has no %s", name, c[1])
		}
		files[name] = changed
		if got := strings.Join(Schema(t).Check(files), "\n"); !strings.Contains(got, c[3]) {
			t.Errorf("with %s: got %q, want %q", c[2], got, c[3])
		}
	}
}

// Refused checks that the fields of faults are those wanted, and that each says what to do.
func Refused(t *testing.T, faults []ir.Fault, want []string) {
	t.Helper()
	var got []string
	for _, f := range faults {
		got = append(got, f.Field)
		if f.Message == "" || f.Hint == "" {
			t.Errorf("%s lacks a message or a hint: %+v", f.Field, f)
		}
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("refused: %v, want %v", got, want)
	}
}

// Page checks that a page for users shows a resource as it is written, after "```hcl\n", and the version of
// the provider.
func Page(t *testing.T, page, begin string, written []byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```hcl\n"+begin)
	shown, _, closed := strings.Cut(rest, "```")
	if !found || !closed || !strings.Contains(string(written), begin+shown) {
		t.Errorf("docs/%s does not show what is written", page)
	}
	if version := Schema(t).Version; !strings.Contains(string(text), version) {
		t.Errorf("docs/%s does not say that provider %s was compared", page, version)
	}
}
