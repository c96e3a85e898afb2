// Package redistest gives tests servers of Redis, which are started from Debian's binary and
// end with the tests.
package redistest

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Password is that of a server.
const Password = "s3cret-of-the-test"

// A Server is a Redis server without anything in it.
type Server struct {
	Port int

	t       testing.TB
	cmd     *exec.Cmd
	options []string
}

// Start starts a server of the test's own.
func Start(t testing.TB) *Server {
	t.Helper()
	return start(t)
}

// StartCluster starts a cluster of servers, which have equally many slots and no replicas.
func StartCluster(t testing.TB, servers int) []*Server {
	t.Helper()
	var all []*Server
	for range servers {
		all = append(all, start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--masterauth", Password))
	}
	for i, s := range all {
		s.Do("CLUSTER", "ADDSLOTSRANGE", i*slots/servers, (i+1)*slots/servers-1)
		s.Do("CLUSTER", "MEET", "127.0.0.1", all[0].Port)
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		ready := 0
		for _, s := range all {
			info, _ := redis.String(s.Do("CLUSTER", "INFO"), nil)
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", servers)) {
				ready++
			}
		}
		if ready == servers {
			return all
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("the cluster of Redis does not begin")
		}
	}
}

const slots = 16384

// Do sends a command to a server, and returns its answer.
func (s *Server) Do(name string, args ...any) any {
	s.t.Helper()
	c, err := redis.DialURL(s.URL(), redis.DialPassword(Password))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	answer, err := c.Do(name, args...)
	if err != nil {
		s.t.Fatalf("%s %v: %v", name, args, err)
	}
	return answer
}

func start(t testing.TB, options ...string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Port: l.Addr().(*net.TCPAddr).Port, t: t, options: options}
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
	s.cmd = exec.Command("redis-server", append([]string{"--port", fmt.Sprint(s.Port), "--bind", "127.0.0.1", "--requirepass", Password, "--save", "", "--appendonly", "no", "--dir", s.t.TempDir()}, s.options...)...)
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
