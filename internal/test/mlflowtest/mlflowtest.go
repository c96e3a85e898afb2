// Package mlflowtest runs real MLflow servers for tests. Their telemetry is off.
package mlflowtest

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/pythontest"
)

//go:embed requirements.lock
var lock []byte

// A Server is an MLflow server with a database in a folder, which outlives it.
type Server struct {
	URI string

	t      testing.TB
	python string
	dir    string
	port   int
	cmd    *exec.Cmd
}

// New returns a server that is not started yet.
func New(t testing.TB) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, python: pythontest.Interpreter(t, lock), dir: t.TempDir(), port: port, URI: fmt.Sprintf("http://127.0.0.1:%d", port)}
	t.Cleanup(s.Kill)
	return s
}

// startWithin is how long a server may take to start. Alone, it takes about 27 s the first time.
const startWithin = 5 * time.Minute

// Start starts the server, and returns once it answers.
func (s *Server) Start() {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(s.python, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///"+filepath.Join(s.dir, "m.db"),
		"--artifacts-destination", filepath.Join(s.dir, "artifacts"), "--host", "127.0.0.1", "--port", fmt.Sprint(s.port), "--workers", "1")
	s.cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false")
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(startWithin); ; time.Sleep(100 * time.Millisecond) {
		if healthy(s.t.Context(), s.URI) {
			return
		}
		if time.Now().After(end) {
			b, _ := os.ReadFile(log.Name())
			s.t.Fatalf("MLflow does not answer:\n%s", b)
		}
	}
}

func healthy(ctx context.Context, uri string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri+"/health", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return err == nil && string(b) == "OK"
}

// Kill kills the server and its workers, if it runs.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
}
