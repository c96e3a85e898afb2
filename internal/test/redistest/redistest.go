// Package redistest gives tests servers of Redis, which are started from Debian's binary and
// end with the tests.
package redistest

import (
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Password is that of a server.
const Password = "s3cret-of-the-test"

// A Server is a Redis server without anything in it.
type Server struct {
	Port int

	t   testing.TB
	cmd *exec.Cmd
}

// Start starts a server of the test's own.
func Start(t testing.TB) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Port: l.Addr().(*net.TCPAddr).Port, t: t}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.Again()
	t.Cleanup(s.Stop)
	return s
}

// URL is where it is.
func (s *Server) URL() string { return fmt.Sprintf("redis://127.0.0.1:%d/0", s.Port) }

// Again starts a server that was stopped, with nothing in it.
func (s *Server) Again() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", "--port", fmt.Sprint(s.Port), "--bind", "127.0.0.1", "--requirepass", Password, "--save", "", "--appendonly", "no", "--dir", s.t.TempDir())
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("this test needs Redis: apt-get install redis-server: %v", err)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Since(start) > time.Minute {
			s.t.Fatalf("Redis does not listen: %v", err)
		}
	}
}

// Stop ends it.
func (s *Server) Stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}
