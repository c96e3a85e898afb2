package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// apart keeps the claims of a test apart from those of the machine.
func apart(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	was := shared
	shared = []string{filepath.Join(dir, "missing"), dir}
	t.Cleanup(func() { shared = was })
}

// running starts a program that leads a session, and ends it after the test.
func running(t *testing.T) (id Ident, end func()) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return id, end
}

func serviceAt(dir, unit, host string, port int) executors.Task {
	return executors.Task{
		Unit: ir.Unit{ID: unit, Kind: ir.Service, Endpoint: &ir.Endpoint{Host: host, Port: port}},
		Name: filepath.Base(dir), Dir: dir,
	}
}

// claim claims an address for a task, whose process is id.
func claim(t *testing.T, task executors.Task, id Ident) {
	t.Helper()
	a, err := Reserve(t.Context(), task, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Claim(id, false); err != nil {
		t.Fatal(err)
	}
}

// unusedPort returns a port on which nobody listens.
func unusedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAClaimedAddressGoesToItsSuccessorsOnly(t *testing.T) {
	apart(t)
	port := unusedPort(t)
	id, _ := running(t)
	claim(t, serviceAt("/a/.tenon/runs/api-1", "deployments/api", "127.0.0.1", port), id)

	const owner = "deployments/api of /a"
	prior := &Claim{Dir: "/a/.tenon/runs/api-1", Host: "127.0.0.1", Port: port, Ident: id}
	for _, c := range []struct {
		name      string
		dir, unit string
		host      string
		leaving   []string
		prior     *Claim
		want      string
	}{
		{"another start of the unit", "/a/.tenon/runs/api-2", "deployments/api", "127.0.0.1", nil, nil, ""},
		{"the same start", "/a/.tenon/runs/api-1", "deployments/api", "127.0.0.1", nil, nil, ""},
		{"another unit of the system", "/a/.tenon/runs/b-1", "deployments/b", "127.0.0.1", nil, nil, owner},
		{"another unit, and the owner leaves", "/a/.tenon/runs/b-1", "deployments/b", "127.0.0.1", []string{"deployments/api"}, nil, ""},
		{"another unit, and a third leaves", "/a/.tenon/runs/b-1", "deployments/b", "127.0.0.1", []string{"deployments/c"}, nil, owner},
		{"the owner under another name", "/a/.tenon/runs/b-1", "deployments/b", "127.0.0.1", nil, prior, ""},
		{"the owner in a folder that was moved", "/moved/.tenon/runs/api-2", "deployments/api", "127.0.0.1", nil, prior, ""},
		{"the unit in another system", "/b/.tenon/runs/api-1", "deployments/api", "127.0.0.1", nil, nil, owner},
		{"the unit in another system, which removes it", "/b/.tenon/runs/b-1", "deployments/b", "127.0.0.1", []string{"deployments/api"}, nil, owner},
		{"another system at another host", "/b/.tenon/runs/api-1", "deployments/api", "127.0.0.2", nil, nil, ""},
		{"another system at every host", "/b/.tenon/runs/api-1", "deployments/api", "0.0.0.0", nil, nil, owner},
		{"another system at localhost", "/b/.tenon/runs/api-1", "deployments/api", "localhost", nil, nil, owner},
	} {
		task := serviceAt(c.dir, c.unit, c.host, port)
		task.Leaving = c.leaving
		if by, err := Taken(t.Context(), task, c.prior); by != c.want || err != nil {
			t.Errorf("%s: taken by %q, %v, want %q", c.name, by, err, c.want)
		}
		a, err := Reserve(t.Context(), task, c.prior)
		switch {
		case err == nil:
			a.Close()
			if c.want != "" {
				t.Errorf("%s: reserved", c.name)
			}
		case c.want == "" || !strings.Contains(err.Error(), " is in use by "+c.want+": "):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A service of another environment of the state is not the one before it, although it has the
// same folder of runs and the same name.
func TestAnAddressIsNotSharedByEnvironments(t *testing.T) {
	apart(t)
	port := unusedPort(t)
	id, _ := running(t)
	dev := serviceAt("/a/.tenon/runs/dev-api-1", "deployments/api", "127.0.0.1", port)
	dev.Environment = "dev"
	claim(t, dev, id)
	for env, want := range map[string]string{"dev": "", "prod": "deployments/api in the environment dev of /a", "": "deployments/api in the environment dev of /a"} {
		task := serviceAt("/a/.tenon/runs/api-2", "deployments/api", "127.0.0.1", port)
		task.Environment, task.Leaving = env, []string{"deployments/api"}
		if by, err := Taken(t.Context(), task, nil); by != want || err != nil {
			t.Errorf("in %q: taken by %q, %v, want %q", env, by, err, want)
		}
	}
}

// Who deletes the folder of a state loses sight of the service, which goes on listening.
// A new state in that folder must not put a second service beside it.
func TestANewStateDoesNotTakeOverFromOneThatIsGone(t *testing.T) {
	apart(t)
	port := unusedPort(t)
	id, _ := running(t)
	old := serviceAt("/a/.tenon/runs/api-1", "deployments/api", "127.0.0.1", port)
	old.State = "first"
	claim(t, old, id)
	gone := fmt.Sprintf("deployments/api of /a, which a state that is gone has started (`kill -- -%d` ends it)", id.Pid)
	prior := &Claim{Dir: old.Dir, Host: "127.0.0.1", Port: port, Ident: id}
	for _, c := range []struct {
		name, dir, state string
		leaving          []string
		prior            *Claim
		want             string
	}{
		{"the same start", "/a/.tenon/runs/api-1", "second", nil, nil, gone},
		{"another start", "/a/.tenon/runs/api-2", "second", nil, nil, gone},
		{"before there is a state", "/a/.tenon/runs/api-2", "", nil, nil, gone},
		{"a unit of this name leaves", "/a/.tenon/runs/b-1", "second", []string{"deployments/api"}, nil, gone},
		{"the state knows the service", "/a/.tenon/runs/api-2", "second", nil, prior, ""},
		{"the state is the same", "/a/.tenon/runs/api-2", "first", nil, nil, ""},
	} {
		task := serviceAt(c.dir, "deployments/api", "127.0.0.1", port)
		task.Leaving, task.State = c.leaving, c.state
		if by, err := Taken(t.Context(), task, c.prior); by != c.want || err != nil {
			t.Errorf("%s: taken by %q, %v, want %q", c.name, by, err, c.want)
		}
	}
}

func TestAClaimIsVoidOnceItsServiceIsGone(t *testing.T) {
	apart(t)
	port := unusedPort(t)
	id, end := running(t)
	mine := serviceAt("/a/.tenon/runs/api-1", "deployments/api", "127.0.0.1", port)
	other := serviceAt("/b/.tenon/runs/api-1", "deployments/api", "127.0.0.1", port)
	claim(t, mine, id)
	before, err := os.ReadDir(portDir(port))
	if err != nil || len(before) != 1 {
		t.Fatalf("claims are %v, %v", before, err)
	}
	Release(mine.Unit.Endpoint)
	if by, err := Taken(t.Context(), other, nil); by == "" || err != nil {
		t.Errorf("a service that still runs has lost its claim: %q, %v", by, err)
	}
	end()
	for _, reused := range []Ident{id, {Pid: os.Getpid(), Start: id.Start, Boot: id.Boot}, {Pid: os.Getpid(), Start: id.Start, Boot: "earlier"}} {
		claim(t, mine, reused) // the claim of a dead service, or of one whose pid was reused
		if by, err := Taken(t.Context(), other, nil); by != "" || err != nil {
			t.Errorf("%+v: taken by %q, %v", reused, by, err)
		}
	}
	Release(mine.Unit.Endpoint)
	if _, err := os.Stat(portDir(port)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of the port is left: %v", err)
	}
}

// What a tenon that was killed left half-written or locked is in nobody's way.
func TestAKilledStartLeavesTheAddressFree(t *testing.T) {
	apart(t)
	port := unusedPort(t)
	first := serviceAt("/a/.tenon/runs/api-1", "deployments/api", "127.0.0.1", port)
	second := serviceAt("/b/.tenon/runs/api-1", "deployments/api", "127.0.0.1", port)
	killed, err := Reserve(t.Context(), first, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(portDir(port), ".new-1"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(portDir(port), "cut-off"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Reserve(short, second, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two starts have the port at once: %v", err)
	}
	killed.all[0].locked.Close() // as the kernel does
	a, err := Reserve(t.Context(), second, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if _, err := os.Stat(portDir(port)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of the port is left: %v", err)
	}
}

func TestClaimsAreOnlyKeptInAFolderOfAllUsers(t *testing.T) {
	apart(t)
	task := serviceAt("/a/.tenon/runs/api-1", "deployments/api", "127.0.0.1", unusedPort(t))
	dir := claimsDir()
	if err := os.Symlink(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Reserve(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), dir+" is not a folder in which all users can keep claims") {
		t.Errorf("claims behind a symbolic link: %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil { // as if its maker was killed
		t.Fatal(err)
	}
	a, err := Reserve(t.Context(), task, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, d := range []string{dir, a.all[0].dir} {
		if info, err := os.Stat(d); err != nil || !forAll(info) {
			t.Errorf("%s is for some users only: %v, %v", d, info.Mode(), err)
		}
	}
}

func TestAListenerBelongsToTheSessionThatHasIt(t *testing.T) {
	stat, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if stat.session != os.Getpid() {
		// The leader of this session may have ended, so the test leads one of its own.
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		again.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if out, err := again.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := &ir.Endpoint{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	leader, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if by, err := stranger(t.Context(), at, []Claim{{Ident: leader}}); by != "" || err != nil {
		t.Errorf("our own listener is that of a stranger: %q, %v", by, err)
	}
	other, _ := running(t)
	want := "process " + strconv.Itoa(os.Getpid()) + " ("
	if by, err := stranger(t.Context(), at, []Claim{{Ident: other}}); !strings.HasPrefix(by, want) || err != nil {
		t.Errorf("the stranger is %q, %v, want %s", by, err, want)
	}
	for host, listens := range map[string]bool{"127.0.0.1": true, "0.0.0.0": true, "": true, "localhost": true, "127.0.0.2": false, "::1": false} {
		by, err := stranger(t.Context(), &ir.Endpoint{Host: host, Port: at.Port}, nil)
		if (by != "") != listens || err != nil {
			t.Errorf("host %q: a stranger is %q, %v", host, by, err)
		}
	}
}

func TestListenersAreReadFromTheTablesOfTheKernel(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 100 0 0 10 0
   1: 0200007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12 1 0000000000000000 100 0 0 10 0
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0000000000000000 100 0 0 10 0
   3: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 0000000000000000 100 0 0 10 0
   4: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 15 1 0000000000000000 100 0 0 10 0
   5: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 16 1 0000000000000000 100 0 0 10 0
   6: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 0000000000000000 100 0 0 10 0
   7: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18 1 0000000000000000 100 0 0 10 0
   8: nonsense
`
	for host, want := range map[string][]uint64{
		"127.0.0.1": {11, 13, 17, 18},
		"127.0.0.2": {12, 13, 17},
		"::1":       {13, 16, 17},
		"0.0.0.0":   {11, 12, 13, 16, 17, 18},
	} {
		got := map[uint64]listener{}
		parseListeners([]byte(table), 8080, []netip.Addr{netip.MustParseAddr(host)}, got)
		for _, inode := range want {
			if _, ok := got[inode]; !ok {
				t.Errorf("%s: listener %d is missing", host, inode)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: listeners are %v, want %v", host, got, want)
		}
	}
}

// Both ways of asking the kernel give the same listeners.
func TestListenersOfSockDiagAreThoseOfTheTables(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", "[::ffff:127.0.0.1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Logf("this machine does not listen on %s: %v", at, err)
			continue
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String()) // a connection is not a listener
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		port := l.Addr().(*net.TCPAddr).Port
		for _, ips := range [][]netip.Addr{nil, {netip.MustParseAddr("127.0.0.1")}, {netip.MustParseAddr("::1")}, {netip.MustParseAddr("127.0.0.2")}} {
			asked, tables := map[uint64]listener{}, map[uint64]listener{}
			if err := diagnose(port, ips, asked); err != nil {
				t.Fatal(err)
			}
			for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
				b, err := os.ReadFile(table)
				if err != nil {
					t.Fatal(err)
				}
				parseListeners(b, port, ips, tables)
			}
			if diff := cmp.Diff(tables, asked, cmp.AllowUnexported(listener{})); diff != "" {
				t.Errorf("%s, asked for %v (-tables +sock_diag):\n%s", at, ips, diff)
			}
		}
	}
}

// A dump that fails ends with the same message as a complete one, which then carries the error.
func TestAnAnswerOfSockDiagThatFails(t *testing.T) {
	message := func(kind uint16, code int32) syscall.NetlinkMessage {
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind}, Data: binary.NativeEndian.AppendUint32(nil, uint32(code))}
	}
	if err := ended(message(unix.NLMSG_DONE, 0)); err != nil {
		t.Errorf("a complete answer: %v", err)
	}
	for _, kind := range []uint16{unix.NLMSG_DONE, unix.NLMSG_ERROR} {
		if err := ended(message(kind, -int32(unix.ENOENT))); !errors.Is(err, unix.ENOENT) {
			t.Errorf("a message of type %d with ENOENT: %v", kind, err)
		}
	}
	if ended(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.NLMSG_DONE}}) == nil {
		t.Error("an end without a code counts as complete")
	}
}
