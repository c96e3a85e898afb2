package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/sharedport"
)

// asService makes the test binary a service at an address: it answers each line with its pid. "die"
// kills it, "leave" makes it end as services do, and "sleep" as they do that nobody needs for now.
const asService = "TENON_RUN_SERVICE"

func init() {
	if at := os.Getenv(asService); at != "" {
		if err := serve(netip.MustParseAddrPort(at)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(7)
	}
}

func serve(at netip.AddrPort) error {
	fd, name, ok := sharedport.Given(at)
	if !ok {
		return fmt.Errorf("it was given no socket for %s", at)
	}
	if _, there := os.LookupEnv(sharedport.Variable); there {
		return fmt.Errorf("programs that it starts would get the socket")
	}
	if err := unix.Listen(fd, 256); err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(uintptr(fd), ""))
	if err != nil {
		return err
	}
	leave := func() {
		if !sharedport.Taken(name) {
			_ = unix.Shutdown(fd, unix.SHUT_RD)
		}
		_ = l.Close()
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGTERM)
	go func() { <-asked; leave() }()
	var answers sync.WaitGroup
	for {
		c, err := l.Accept()
		if err != nil {
			answers.Wait()
			return nil
		}
		answers.Go(func() {
			defer c.Close()
			line, _ := bufio.NewReader(c).ReadString('\n')
			switch line {
			case "die\n":
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			case "leave\n":
				leave()
				return
			case "sleep\n":
				os.Exit(0) // and the socket goes on listening
			}
			fmt.Fprintln(c, os.Getpid())
			if os.Getenv(sharedport.Last) != "" {
				c.Close()
				os.Exit(0)
			}
		})
	}
}

// freeAddress returns an address of this machine that nobody has.
func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer free.Close()
	return free.Addr().String()
}

// A service is one that tenon-run keeps, on this machine or as a container.
type service struct {
	t   *testing.T
	at  string
	log string
	cmd *exec.Cmd
}

func startService(t *testing.T, local bool, at string, socket ...string) *service {
	t.Helper()
	dir := t.TempDir()
	s := &service{t: t, at: at, log: filepath.Join(dir, "log")}
	ok(t, os.WriteFile(s.log, nil, 0o644))
	args := append([]string{"-log", s.log, "-exit", filepath.Join(dir, "exit"), "-lives", filepath.Join(dir, "lives"), "-socket", at}, socket...)
	if local {
		args = append(args, "-local", "-grace", "1s")
	}
	// The leader is this binary too. Only its program is the service.
	script := fmt.Sprintf("%s=%s exec %s", asService, at, os.Args[0])
	s.cmd = exec.Command(os.Args[0], append(args, "--", "/bin/sh", "-c", script)...)
	s.cmd.Env = []string{asRun + "=1", "PATH=/usr/bin:/bin"}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if local {
		gate, goAhead, err := os.Pipe()
		ok(t, err)
		lock, err := os.Create(filepath.Join(dir, "lock"))
		ok(t, err)
		s.cmd.ExtraFiles, s.cmd.SysProcAttr = []*os.File{gate, lock}, &syscall.SysProcAttr{Setsid: true}
		_, err = io.WriteString(goAhead, "go\n")
		ok(t, err)
		defer func() { gate.Close(); lock.Close(); goAhead.Close() }()
	}
	ok(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		_ = s.cmd.Wait()
	})
	return s
}

// end asks all processes to end, as executors do.
func (s *service) end(local bool) {
	s.t.Helper()
	pid := s.cmd.Process.Pid
	if local {
		pid = -pid
	}
	ok(s.t, syscall.Kill(pid, unix.SIGTERM))
	_ = s.cmd.Wait() // the status is that of the service
}

func (s *service) say(line string) (answer string, err error) {
	c, err := net.Dial("tcp", s.at)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return strings.TrimSpace(string(b)), err
}

// places are where a service runs.
var places = map[string]bool{"on this machine": true, "in a container": false}

// A connection that comes while a killed service is started again waits for it.
func TestConnectionsWaitForTheNextStart(t *testing.T) {
	for name, local := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startService(t, local, freeAddress(t))
			eventually(t, "it answers", func() bool { _, err := s.say("who"); return err == nil })
			for _, end := range []string{"die", "leave"} {
				_, _ = s.say(end)
				if end == "die" {
					if got, err := s.say("who"); err != nil || got == "" {
						t.Fatalf("after a service was killed: %q, %v\n%s", got, err, read(t, s.log))
					}
					continue
				}
				eventually(t, "it answers again", func() bool { got, err := s.say("who"); return err == nil && got != "" })
			}
			if got := strings.Count(read(t, s.log), "starting it again"); got != 2 {
				t.Errorf("it was started again %d times:\n%s", got, read(t, s.log))
			}
		})
	}
}

// Each version gets the socket of the one before, which ends then. No connection fails, whichever of
// them it came to.
func TestTheNextVersionTakesTheSocket(t *testing.T) {
	for name, local := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := freeAddress(t)
			version := func(n int) string { return fmt.Sprint(at, " ", n) }
			s := startService(t, local, at, "-hand", version(0))
			eventually(t, "it answers", func() bool { _, err := s.say("who"); return err == nil })
			var clients sync.WaitGroup
			var stop atomic.Bool
			var answers atomic.Int64
			for range 16 {
				clients.Go(func() {
					for !stop.Load() {
						if got, err := s.say("who"); err != nil || got == "" {
							t.Errorf("it answers %q: %v", got, err)
							return
						}
						answers.Add(1)
					}
				})
			}
			before := s
			for n := 1; n <= 10 && !t.Failed(); n++ {
				next := startService(t, local, at, "-hand", version(n), "-take", version(n-1), "-take", "nobody")
				eventually(t, "the next version does not take the socket", func() bool { return sharedport.Taken(version(n - 1)) })
				before.end(local)
				was := answers.Load()
				eventually(t, "nobody is answered", func() bool { return answers.Load() > was+16 || t.Failed() })
				before = next
			}
			stop.Store(true)
			clients.Wait()
			before.end(local)
			if _, err := s.say("who"); err == nil {
				t.Error("somebody answers although all have ended")
			}
		})
	}
}

// If the next version has to end while the version before goes on, that one keeps its socket.
func TestTheNextVersionEndsFirst(t *testing.T) {
	for name, local := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := freeAddress(t)
			s, first := startService(t, local, at, "-hand", at+" 0"), ""
			eventually(t, "it answers", func() bool { got, err := s.say("who"); first = got; return err == nil })
			next := startService(t, local, at, "-hand", at+" 1", "-take", at+" 0")
			eventually(t, "the next version does not take the socket", func() bool { return sharedport.Taken(at + " 0") })
			eventually(t, "the next version does not hand it out", func() bool { return sharedport.Taken(at + " 1") })
			if local { // in containers, both have the same pid
				eventually(t, "the next version does not answer", func() bool { got, err := s.say("who"); return err == nil && got != "" && got != first })
			}
			next.end(local)
			for range 20 {
				if got, err := s.say("who"); err != nil || got != first {
					t.Fatalf("it answers %q: %v\n%s", got, err, read(t, s.log))
				}
			}
			if log := read(t, s.log); strings.Contains(log, "starting it again") {
				t.Errorf("the version before was started again:\n%s", log)
			}
		})
	}
}

// All versions that have a socket know of one another, whichever of them the next one has it from.
func TestOfThreeVersionsTheLastStays(t *testing.T) {
	for name, local := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := freeAddress(t)
			a := startService(t, local, at, "-hand", at+" a")
			eventually(t, "it answers", func() bool { _, err := a.say("who"); return err == nil })
			b := startService(t, local, at, "-hand", at+" b", "-take", at+" a")
			eventually(t, "the second version does not take the socket", func() bool { return sharedport.Taken(at + " b") })
			c := startService(t, local, at, "-hand", at+" c", "-take", at+" b", "-take", at+" a")
			eventually(t, "the third version does not take the socket", func() bool { return sharedport.Taken(at + " c") })
			b.end(local)
			a.end(local)
			for range 20 {
				if got, err := c.say("who"); err != nil || got == "" {
					t.Fatalf("it answers %q: %v\n%s", got, err, read(t, c.log))
				}
			}
			if log := read(t, c.log); strings.Contains(log, "starting it again") {
				t.Errorf("the third version was started again:\n%s", log)
			}
		})
	}
}

// A service that sleeps is started by the next connection. That is not the end of a life. If it is
// asked to end while a connection waits, it answers that first.
func TestAServiceThatSleeps(t *testing.T) {
	s := startService(t, true, freeAddress(t))
	in := func(name string) string { return filepath.Join(filepath.Dir(s.log), name) }
	exists := func(name string) bool { _, err := os.Lstat(in(name)); return err == nil }
	first := ""
	var err error
	eventually(t, "it answers", func() bool { first, err = s.say("who"); return err == nil })
	for range 3 {
		_, _ = s.say("sleep")
		eventually(t, "it sleeps", func() bool { return exists("asleep") })
		next, err := s.say("who")
		if err != nil || next == "" || next == first {
			t.Fatalf("%q answers after %q: %v\n%s", next, first, err, read(t, s.log))
		}
		if exists("asleep") {
			t.Error("it answers in its sleep")
		}
		first = next
	}
	if exists("lives") {
		t.Error("sleeping counts as the end of a life")
	}
	_, _ = s.say("sleep")
	eventually(t, "it sleeps", func() bool { return exists("asleep") })
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTERM} { // it gets the second one after the connection
		ok(t, s.cmd.Process.Signal(signal))
	}
	answer := make(chan error, 1)
	go func() {
		next, err := s.say("who")
		if err == nil && (next == "" || next == first) {
			err = fmt.Errorf("%q answers after %q", next, first)
		}
		answer <- err
	}()
	time.Sleep(100 * time.Millisecond)
	ok(t, s.cmd.Process.Signal(syscall.SIGCONT))
	ok(t, <-answer)
	eventually(t, "it ends", func() bool { return exists("exit") })
}
