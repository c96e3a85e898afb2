package componenttest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/cmd/internal/componenttest"
	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/tenon-duck/program"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// The test binary also serves as tenon-duck.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && (os.Args[1] == "serve" || os.Args[1] == "step") {
		os.Exit(program.Run(os.Args[1:]))
	}
	os.Exit(executortest.RunWithPrograms(m))
}

// settings returns the settings of an engine on this machine.
func settings(t *testing.T) project.Settings {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv("TENON_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(base, "tenon")
	}
	uv := os.Getenv("TENON_UV")
	if uv == "" {
		uv = "uv"
	}
	duck := worker.New(self)
	t.Cleanup(duck.Close)
	return project.Settings{SQL: duck, Cache: cache, UV: []string{uv}, Config: all.Config{Tenon: self, Runner: os.Getenv("TENON_RUN"), Programs: executors.Programs{Serve: executors.ServeAt(os.Getenv("TENON_SERVE"))}, Environ: os.Environ()}}
}

// Every component of the library passes the suite. A component is tested because its
// folder exists; `-run TestLibrary/source.csv` tests one.
func TestLibrary(t *testing.T) {
	components, err := componenttest.Find(filepath.Join("..", "..", "..", "stdlib"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range components {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			err := componenttest.Run(t.Context(), []componenttest.Component{c}, settings(t), 1, func(r componenttest.Result) {
				for _, c := range r.Checks {
					t.Logf("%-14s %-8s %s", c.Name, c.Status, c.Detail)
				}
				if !r.OK() {
					t.Fail()
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
