package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/sharedport"
)

// asService makes the test binary a service at an address: it answers each line with its pid and how
// often it was started, counted in a file. "die" kills it, and "leave" makes it end as services do.
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
	fd, ok := sharedport.Given(at)
	if !ok {
		return fmt.Errorf("it was given no socket for %s", at)
	}
	if _, there := os.LookupEnv(sharedport.Variable); there {
		return fmt.Errorf("programs that it starts would get the socket")
	}
	if err := unix.Listen(fd, 16); err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(uintptr(fd), ""))
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		line, _ := bufio.NewReader(c).ReadString('\n')
		switch line {
		case "die\n":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "leave\n":
			_ = unix.Shutdown(fd, unix.SHUT_RD) // as a service does before it drains
			time.Sleep(100 * time.Millisecond)
			return nil
		}
		fmt.Fprintln(c, os.Getpid())
		c.Close()
	}
}

// A connection that comes while a killed service is started again waits for it.
func TestConnectionsWaitForTheNextStart(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	at := free.Addr().String()
	ok(t, free.Close())
	dir := t.TempDir()
	logFile := filepath.Join(dir, "log")
	ok(t, os.WriteFile(logFile, nil, 0o644))
	gate, goAhead, err := os.Pipe()
	ok(t, err)
	lock, err := os.Create(filepath.Join(dir, "lock"))
	ok(t, err)
	// The leader is this binary too. Only its program is the service.
	script := fmt.Sprintf("%s=%s exec %s", asService, at, os.Args[0])
	cmd := exec.Command(os.Args[0], "-local", "-log", logFile, "-exit", filepath.Join(dir, "exit"), "-lives", filepath.Join(dir, "lives"), "-socket", at, "-grace", "1s", "--", "/bin/sh", "-c", script)
	cmd.Env = []string{asRun + "=1", "PATH=/usr/bin:/bin"}
	cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{gate, lock}, &syscall.SysProcAttr{Setsid: true}
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	_, err = io.WriteString(goAhead, "go\n")
	ok(t, err)

	say := func(line string) (answer string, err error) {
		c, err := net.Dial("tcp", at)
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
	var first string
	eventually(t, "it answers", func() bool { first, err = say("who"); return err == nil })
	for _, end := range []string{"die", "leave"} {
		_, _ = say(end)
		var next string
		if end == "die" {
			if next, err = say("who"); err != nil {
				t.Fatalf("after a service was killed: %v\n%s", err, read(t, logFile))
			}
		} else {
			eventually(t, "it answers again", func() bool { next, err = say("who"); return err == nil && next != "" })
		}
		if next == "" || next == first {
			t.Errorf("%s: %q answers after %q", end, next, first)
		}
		first = next
	}
}
