// Package postgrestest gives tests states in PostgreSQL, on servers of their own. They
// are started from Debian's binaries, as a user without rights, and end with the
// tests.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Password is that of the user of a server, who may do anything there.
const Password = "s3cret-of-the-test"

const patience = 2 * time.Minute // with a busy machine

// A Server is a PostgreSQL server.
type Server struct {
	Port int

	dir, bin string
	at       string // an address at which others reach it, or ""
	attr     *syscall.SysProcAttr
	process  *os.Process
	ended    chan struct{}
}

var (
	shared struct {
		sync.Mutex
		*Server
	}
	schemas atomic.Int64
)

// URL returns where a state can be that does not exist yet, on a server that all
// tests of the program share; see [M].
func URL(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.Server == nil {
		s, err := start("")
		if err != nil {
			t.Fatal(err)
		}
		shared.Server = s
	}
	return shared.URL()
}

// M is the tests of a program that share a server, which ends with them.
type M struct{ *testing.M }

// Run runs the tests.
func (m M) Run() int {
	code := m.M.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

func stop() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.Server == nil {
		return nil
	}
	return shared.remove()
}

// Start starts a server of the test's own.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartAt(t, "")
}

// StartAt starts a server of the test's own that others than this machine reach at an
// address.
func StartAt(t testing.TB, address string) *Server {
	t.Helper()
	s, err := start(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// URL returns where a state can be that does not exist yet.
func (s *Server) URL() string {
	return fmt.Sprintf("%s?schema=s%d", s.Database(), schemas.Add(1))
}

// From is a URL of a state as who reaches the server at the address of [StartAt] has it.
func (s *Server) From(url string) string { return strings.Replace(url, "127.0.0.1", s.at, 1) }

// Database is the URL of the database that the states are in.
func (s *Server) Database() string {
	return fmt.Sprintf("postgres://tenon:%s@127.0.0.1:%d/postgres", Password, s.Port)
}

// Exec runs a statement as no state would.
func (s *Server) Exec(ctx context.Context, statement string) error {
	c, err := pgx.Connect(ctx, s.Database())
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}

func start(address string) (s *Server, err error) {
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bins) == 0 {
		return nil, errors.New("this test needs PostgreSQL: apt-get install postgresql")
	}
	s = &Server{bin: bins[len(bins)-1], at: address, attr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}}
	if s.dir, err = os.MkdirTemp("", "tenon-postgres-"); err != nil { // short, for the path of a socket
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(Password+"\n"), 0o644); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		if err := s.asPostgres(); err != nil {
			return nil, err
		}
	}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "tenon", "--auth", "scram-sha-256", "--pwfile", password,
		"--encoding", "UTF8", "--no-locale", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = s.dir, s.attr
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if s.at != "" {
		if err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte("host all all all scram-sha-256\n"), 0o644); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	return s, s.Restart()
}

// asPostgres gives the folder to the user that Debian made for PostgreSQL, which
// root may not run.
func (s *Server) asPostgres() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	s.attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return errors.Join(err1, err2, os.Chown(s.dir, int(uid), int(gid)))
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Restart starts the server once more, where it was, and returns when it answers.
func (s *Server) Restart() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	listen := "127.0.0.1"
	if s.at != "" {
		listen += "," + s.at
	}
	// The processes die, the machine does not: nothing has to be on the disk.
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.Port), "-k", s.dir, "-c", "listen_addresses="+listen, "-c", "fsync=off")
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = s.dir, s.attr, log, log
	began := make(chan error)
	s.ended = make(chan struct{})
	go func() {
		runtime.LockOSThread() // a server ends with the thread that started it
		began <- cmd.Start()
		_ = cmd.Wait()
		close(s.ended)
	}()
	if err := <-began; err != nil {
		return err
	}
	s.process = cmd.Process
	return s.ready()
}

func (s *Server) ready() error {
	for end := time.Now().Add(patience); ; {
		ctx, cancel := context.WithDeadline(context.Background(), end)
		err := s.Exec(ctx, "SELECT 1")
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			err = errors.New("it ended")
		case <-time.After(10 * time.Millisecond):
			if time.Now().Before(end) {
				continue
			}
		}
		text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return fmt.Errorf("start postgres: %w\n%s", err, text)
	}
}

// Kill ends the server and all its processes at once, as a crash does.
func (s *Server) Kill() error {
	pid := s.process.Pid
	if err := s.process.Signal(syscall.SIGSTOP); err != nil { // it starts no more
		return err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err := errors.Join(err, s.process.Kill()); err != nil {
		return err
	}
	<-s.ended
	for child := range strings.FieldsSeq(string(text)) {
		if n, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL) // it may have ended with the first
		}
		// What it has of the server's memory is in the way of the next one.
		for end := time.Now().Add(patience); runs(child); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("process %s of the server does not end", child)
			}
		}
	}
	return nil
}

// runs reports whether there is a process that is not a zombie.
func runs(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	_, rest, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

func (s *Server) remove() error {
	_ = s.process.Signal(syscall.SIGQUIT) // it may have been killed
	<-s.ended
	return os.RemoveAll(s.dir)
}
