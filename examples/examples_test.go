// Package examples_test applies every example as a user would: with the real
// binary, on real data, with real servers.
package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
)

var tenonPath string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tenon-examples-")
	if err != nil {
		panic(err)
	}
	tenonPath = filepath.Join(dir, "tenon")
	for _, name := range []string{"tenon", "tenon-duck"} {
		if err := executortest.Build(filepath.Join(dir, name), "github.com/tenon-ml/tenon/cmd/"+name); err != nil {
			panic(err)
		}
	}
	for _, name := range []string{"tenon-run", "tenon-pod", "tenon-host", "tenon-serve"} {
		if err := executortest.BuildStatic(filepath.Join(dir, name), "github.com/tenon-ml/tenon/cmd/"+name); err != nil {
			panic(err)
		}
	}
	release, err := kubernetestest.Shared(dir)
	if err != nil {
		panic(err)
	}
	code := m.Run()
	if err := release(); err != nil {
		panic(err)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// A system is an example in a folder of its own.
type system struct {
	t   *testing.T
	dir string
	env []string
}

func newSystem(t *testing.T, example string) *system {
	t.Helper()
	dir := filepath.Join(t.TempDir(), example)
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".tenon")); err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, dir: dir}
	t.Cleanup(func() {
		if out, err := s.run("destroy", "--yes"); err != nil {
			t.Errorf("destroy: %v\n%s", err, out)
		}
	})
	return s
}

func (s *system) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tenonPath, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), s.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *system) must(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("tenon %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// What the tests beside the examples specify holds. TENON_UPDATE=1 accepts what
// comes out now.
func TestExamplesPassTheirOwnTests(t *testing.T) {
	folders, err := filepath.Glob("*/tests")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no example has tests: %v", err)
	}
	args := []string{"test"}
	if os.Getenv("TENON_UPDATE") != "" {
		args = append(args, "--update")
	}
	for _, folder := range folders {
		t.Run(filepath.Dir(folder), func(t *testing.T) {
			s := &system{t: t, dir: "."}
			if out, err := s.run(append(args, filepath.Dir(folder))...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// show returns what tenon show --json says of a unit.
func (s *system) show(unit string) (shown struct {
	Artifacts map[string]string
	Run       struct{ Metrics map[string]float64 }
}) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.must("show", unit, "--json")), &shown); err != nil {
		s.t.Fatal(err)
	}
	return shown
}

// edit replaces text in a file of the system.
func (s *system) edit(file, old, new string) {
	s.t.Helper()
	path := filepath.Join(s.dir, file)
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(old)) {
		s.t.Fatalf("%s does not hold %q", file, old)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(new), 1), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, readAll(t, resp)
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, resp)
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func contains(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}
