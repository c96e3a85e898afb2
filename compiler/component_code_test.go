package compiler

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/stdlib"
)

func TestGoImportsAreThoseOfTheParser(t *testing.T) {
	const library = "github.com/tenon-ml/tenon/stdlib/"
	imports := 0
	err := fs.WalkDir(stdlib.Files(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(p) != ".go" {
			return err
		}
		src, err := fs.ReadFile(stdlib.Files(), p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var want []string
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if rest, ok := strings.CutPrefix(name, library); ok {
				want = append(want, rest)
			}
		}
		got := goImports(src)
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-parser +goImports):\n%s", p, diff)
		}
		imports += len(want)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if imports == 0 {
		t.Error("no file of the library imports another package of it")
	}
}
