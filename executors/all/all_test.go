package all_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
)

const module = "github.com/tenon-ml/tenon"

// Only this package and the executors' own folders know an executor by name: no other code
// imports one or compares a string with the name of one. cmd/bench measures one by itself.
func TestExecutorsAreNamedInOnePlace(t *testing.T) {
	names := all.Names()
	own := []string{"executors/all", "cmd/bench"}
	for _, n := range names {
		own = append(own, "executors/"+n)
	}
	root := filepath.Join("..", "..")
	looked := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, file)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains(own, filepath.ToSlash(rel)) || rel != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || strings.HasPrefix(filepath.ToSlash(rel), "internal/test/"):
			return nil
		}
		looked++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			imported, _ := strconv.Unquote(i.Path.Value)
			if dir, name := path.Split(imported); dir == module+"/executors/" && slices.Contains(names, name) {
				t.Errorf("%s imports the executor %s", fset.Position(i.Pos()), name)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			for _, x := range compared(n) {
				if text, err := strconv.Unquote(x.Value); err == nil && slices.Contains(names, text) {
					t.Errorf("%s compares with the executor %s", fset.Position(x.Pos()), text)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked < 100 {
		t.Fatalf("only %d files were looked at", looked)
	}
}

// compared are the literals that a node compares something with.
func compared(n ast.Node) (literals []*ast.BasicLit) {
	var operands []ast.Expr
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if n.Op == token.EQL || n.Op == token.NEQ {
			operands = []ast.Expr{n.X, n.Y}
		}
	case *ast.CaseClause:
		operands = n.List
	}
	for _, x := range operands {
		if l, ok := x.(*ast.BasicLit); ok && l.Kind == token.STRING {
			literals = append(literals, l)
		}
	}
	return literals
}

// The settings of a target reach its executor, in the executor's own type.
func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		name, executor string
		settings       map[string]any
		fault          string // the first field that is refused, or ""
	}{
		{"none", "process", nil, ""},
		{"a folder for registries", "containerd", map[string]any{"base": "python:3.11", "hosts": "/etc/certs.d"}, ""},
		{"of another type", "containerd", map[string]any{"hosts": 1}, "executor"},
		{"a store of objects", "kubernetes", map[string]any{"store": "s3://acme/tenon"}, ""},
		{"a store of files without a volume", "kubernetes", map[string]any{"store": "file:///mnt"}, "store"},
		{"hosts", "ssh", map[string]any{"hosts": []any{map[string]any{"address": "10.0.0.1", "port": 22, "user": "ml"}}}, ""},
		{"a host twice", "ssh", map[string]any{"hosts": []any{map[string]any{"address": "10.0.0.1", "port": 22, "user": "ml"}, map[string]any{"address": "10.0.0.1", "port": 22, "user": "ml"}}}, "hosts.1.address"},
		{"an executor that does not exist", "slurm", nil, "executor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := ir.Target{Name: "here", Executor: tt.executor, Settings: tt.settings}
			got := ""
			if faults := all.Check(target, ir.Unit{ID: "steps/a", Kind: ir.Job, Code: ir.Code{Runtime: ir.Command, Command: []string{"a"}}}); len(faults) > 0 {
				got = faults[0].Field
			}
			if got != tt.fault {
				t.Errorf("refused: %q, want %q", got, tt.fault)
			}
			x, err := all.New(target, all.Setup{})
			if r, ok := x.(executors.ImageRunner); err == nil && ok && tt.settings["hosts"] != nil && r.RegistryHosts() != tt.settings["hosts"] {
				t.Errorf("registries are reached as %q says", r.RegistryHosts())
			}
		})
	}
}
