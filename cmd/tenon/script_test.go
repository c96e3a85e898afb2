package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"

	"github.com/tenon-ml/tenon/cmd/tenon-duck/program"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// The scripts in testdata/script specify the command line, one archive per feature. They
// run this test binary under the name tenon; so do the units that tenon starts, as
// `tenon-duck step`. TENON_UPDATE=1 rewrites their goldens.
func TestScript(t *testing.T) {
	cache := sharedCache(t)
	cueDir = t.TempDir()
	client, err := filepath.Abs("../../stdlib/python")
	if err != nil {
		t.Fatal(err)
	}
	// What a compilation keeps is that of another program once tenon was not written just now.
	tenon, err := exec.LookPath("tenon")
	if err != nil {
		t.Fatal(err)
	}
	for !fingerprint.LooksOf(tenon).Settled(time.Now()) {
		time.Sleep(20 * time.Millisecond)
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("TENON_UPDATE") != "",
		Cmds:               commands,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, ".home")
			for name, value := range map[string]string{
				"HOME": home, "XDG_CACHE_HOME": "", "CUE_CACHE_DIR": filepath.Join(home, "cue"), "TZ": "UTC", "USER": "tester",
				"CLIENT":      client, // the package of Python
				"TENON_CACHE": cache, "TENON_UV": os.Getenv("TENON_UV"), "TENON_RUN": os.Getenv("TENON_RUN"), "TENON_SERVE": os.Getenv("TENON_SERVE"), "TENON_PYTHON": os.Getenv("TENON_PYTHON"), "UV_CACHE_DIR": filepath.Join(cache, "uv"),
			} {
				e.Setenv(name, value)
			}
			// Package indexes and certificates depend on the machine, and the Makefile sets how threads wait.
			for _, name := range []string{"GOMP_SPINCOUNT", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "UV_DEFAULT_INDEX", "UV_SYSTEM_CERTS"} {
				if value := os.Getenv(name); value != "" {
					e.Setenv(name, value)
				}
			}
			e.Values[testKey{}] = e.T()
			// A repository above the temporary folder does not belong to the system.
			e.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(e.WorkDir))
			return os.MkdirAll(home, 0o755)
		},
	})
}

// sharedCache keeps Python environments between runs of the tests, because they take long
// to make.
func sharedCache(t *testing.T) string {
	if dir := os.Getenv("TENON_CACHE"); dir != "" {
		return dir
	}
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(base, "tenon")
}

func TestMain(m *testing.M) {
	testscript.Main(withPrograms{postgrestest.M{M: m}}, map[string]func(){"tenon": main, "port": port, "tenon-duck": duckMain, "tenon-faulty": faulty, "component": component, "client": client})
}

// withPrograms builds tenon-run and tenon-serve for the tests. Unlike tenon-duck, they are no part of this binary:
// one is started for each unit, and this binary starts slowly.
type withPrograms struct{ postgrestest.M }

func (m withPrograms) Run() int { return executortest.RunWithPrograms(m.M) }

func duckMain() { os.Exit(program.Run(os.Args[1:])) }

// port prints values of a step's document, for steps that are shell scripts: the path of
// a port, as in $(port outputs.out), or a field, as in $(port params.title). It reads the
// document as any program would.
func port() {
	b, err := os.ReadFile(os.Getenv(step.Env))
	if err != nil {
		fatal(err)
	}
	var doc any
	if err := json.Unmarshal(b, &doc); err != nil {
		fatal(err)
	}
	v, err := lookup(doc, os.Args[1])
	if err != nil {
		fatal(err)
	}
	if m, ok := v.(map[string]any); ok && m["path"] != nil {
		v = m["path"]
	}
	fmt.Println(v)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Every command has a help text with an example, and every flag describes its value.
func TestHelp(t *testing.T) {
	root := newRoot(&app{stdin: strings.NewReader(""), stdout: os.Stdout, stderr: os.Stderr})
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		t.Run(c.Name(), func(t *testing.T) {
			if c.Short == "" || c.Long == "" {
				t.Error("it does not say what it does")
			}
			if !strings.Contains(c.Example, "tenon "+c.Name()) {
				t.Error("it has no example")
			}
			if strings.HasSuffix(c.Short, ".") {
				t.Error("the short text ends in a full stop")
			}
			for line := range strings.Lines(c.UsageString() + c.Long) {
				if n := len([]rune(strings.TrimRight(line, "\n"))); n > 110 {
					t.Errorf("a line of %d characters: %s", n, line)
				}
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if takes, _ := pflag.UnquoteUsage(f); takes != strings.ToUpper(takes) {
					t.Errorf("--%s does not say what it takes", f.Name)
				}
			})
		})
	}
}

// Every archive asserts something about what it runs.
func TestScriptsAssert(t *testing.T) {
	err := filepath.WalkDir("testdata/script", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if filepath.Ext(path) != ".txtar" {
			t.Errorf("%s is not run: scripts end in .txtar", path)
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		script, _, _ := strings.Cut(string(b), "\n-- ")
		if !strings.HasPrefix(script, "#") {
			t.Errorf("%s does not say what it specifies", path)
		}
		for _, skip := range []string{"\nskip", "\nstop", "[exec:", "[short]", "[net]"} {
			if strings.Contains(script, skip) {
				t.Errorf("%s may skip what it specifies: %q", path, strings.TrimSpace(skip))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
