package project_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The engine has no terminal, no flags and no environment: its settings contain all it
// needs, and it returns or reports all messages.
func TestTheEngineHasNoCommandLine(t *testing.T) {
	fset := token.NewFileSet()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	imports := []string{"flag", "log", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term", "os/signal"}
	names := []string{"os.Stdin", "os.Stdout", "os.Stderr", "os.Args", "os.Exit", "os.Environ", "os.Getenv", "os.LookupEnv", "os.Executable", "fmt.Print", "fmt.Println", "fmt.Printf"}
	looked := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		looked++
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); slices.Contains(imports, path) {
				t.Errorf("%s imports %s", fset.Position(i.Pos()), path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && slices.Contains(names, x.Name+"."+s.Sel.Name) {
					t.Errorf("%s uses %s.%s", fset.Position(s.Pos()), x.Name, s.Sel.Name)
				}
			}
			return true
		})
	}
	if looked < 20 {
		t.Fatalf("only %d files were looked at", looked)
	}
}
