// Package program is what the units of the suite run: one small program for each
// thing that a unit may do. It is built without cgo, so that it runs in any image.
package program

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Patience is how long anything may take before a test gives up.
const Patience = 30 * time.Second

// SecretName is the variable in which "report" looks for a secret.
const SecretName = "TENON_TEST_PASSWORD"

// Main runs the program that the arguments name.
func Main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "which program?")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is one of the things that a test lets a unit do.
func run(name string, args []string) error {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch name { // those that have no document
	case "beat": // a child of "family"
		return beat(arg(0), arg(1) == "stubborn")
	case "whoami":
		fmt.Print(os.Geteuid())
		return nil
	}
	s, err := step.Read()
	if err != nil {
		return err
	}
	dir := s.Outputs["out"].Path
	if dir != "" && name != "nothing" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// Whoever is run twice leaves two lines.
		if err := appendTo(filepath.Join(dir, "starts"), "start\n"); err != nil {
			return err
		}
	}
	switch name {
	case "exit": // CODE [AFTER]
		code, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		if arg(1) != "" {
			time.Sleep(duration(arg(1)))
		}
		os.Exit(code)
	case "signal": // NUMBER
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		if err := syscall.Kill(os.Getpid(), syscall.Signal(n)); err != nil {
			return err
		}
		time.Sleep(Patience)
	case "nothing":
	case "sleep":
		time.Sleep(Patience)
	case "count": // TO [hold]: saves a checkpoint for each number
		to, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		return count(s, dir, to, arg(1) == "hold")
	case "binary":
		_, err := os.Stdout.Write(EveryByte())
		return err
	case "streams":
		fmt.Fprint(os.Stdout, "to stdout\n")
		fmt.Fprint(os.Stderr, "to stderr\n")
	case "lines": // COUNT PAUSE
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		for i := range n {
			fmt.Printf("line %d\n", i)
			time.Sleep(duration(arg(1)))
		}
	case "fragile": // DEATHS: is killed so many times shortly after its start, and then lives
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		return fragile(s, n)
	case "flood": // BYTES: in lines, after the first and before the last one
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		return flood(n)
	case "stdin":
		b, err := io.ReadAll(os.Stdin)
		if err != nil || len(b) > 0 {
			return fmt.Errorf("stdin gave %d bytes: %v", len(b), err)
		}
	case "parent": // PROGRAM...: runs another one as its child, and fails with it
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd.Run()
	case "report": // prints what it found
		return report(s, dir)
	case "meet":
		return meet(dir)
	case "work":
		return work(s, dir)
	case "fill": // BYTES AFTERWARDS [FILE]
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		if err := keep(cmp.Or(arg(2), filepath.Join(dir, "big")), n); err != nil {
			return err
		}
		time.Sleep(duration(arg(1)))
	case "eat": // BYTES
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		return eat(n)
	case "hoard": // FILE BYTES BYTES: in a file in memory, and besides
		n, err := strconv.Atoi(arg(1))
		if err != nil {
			return err
		}
		m, err := strconv.Atoi(arg(2))
		if err != nil {
			return err
		}
		return errors.Join(keep(arg(0), n), eat(m))
	case "burn": // THREADS DURATION
		n, err := strconv.Atoi(arg(0))
		if err != nil {
			return err
		}
		return burn(n, duration(arg(1)), dir)
	case "attack": // LIST
		return attacks(arg(0), dir)
	case "break": // FILE: writes where it may not
		return os.WriteFile(arg(0), nil, 0o644)
	case "family": // a child, one that ignores SIGTERM, one in a process group of its own, one in a session of its own
		if err := family(dir); err != nil {
			return err
		}
		return beat(filepath.Join(dir, "parent"), false)
	case "leave": // the same, but without the parent, once they show that they live
		if err := family(dir); err != nil {
			return err
		}
		for _, name := range []string{"child", "stubborn", "apart", "away"} {
			for _, err := os.Stat(filepath.Join(dir, name)); err != nil; _, err = os.Stat(filepath.Join(dir, name)) {
				time.Sleep(time.Millisecond)
			}
		}
	case "serve": // [READY AFTER]
		return serve(s, arg(0))
	default:
		return fmt.Errorf("no program %q", name)
	}
	return nil
}

// Found is what the program "report" prints.
type Found struct {
	Executable string
	Cwd        string
	Args       []string
	Env        map[string]string
	Step       step.Step
	UID, GID   int
	Groups     []int
	SecretFile string            // how many bytes are in the file that the secret names
	Content    map[string]string // of the data files
}

func report(s *step.Step, dir string) error {
	f := Found{
		Args: os.Args[2:], Env: map[string]string{}, Step: *s, UID: os.Getuid(), GID: os.Getgid(), Content: map[string]string{},
	}
	var err error
	if f.Executable, err = os.Executable(); err != nil {
		return err
	}
	if f.Groups, err = os.Getgroups(); err != nil {
		return err
	}
	for _, paths := range s.Files {
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.Content[path] = string(b)
		}
	}
	if f.Cwd, err = os.Getwd(); err != nil {
		return err
	}
	for _, k := range []string{"PATH", "TMPDIR", "OMP_NUM_THREADS", "TZ", "LANG", "LC_ALL", "LC_TIME", "PYTHONHASHSEED", step.Env, "WORLD_SIZE", "RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"} {
		f.Env[k] = os.Getenv(k)
	}
	if v := os.Getenv(SecretName); v != "" {
		// Not the value: a test searches the folder for it.
		f.Env[SecretName] = strconv.Itoa(len(v))
		if b, err := os.ReadFile(v); err == nil {
			f.SecretFile = strconv.Itoa(len(b))
		}
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "found.json"), b, 0o644)
}

// meet lets the programs of several nodes find the first one, by the variables that
// PyTorch goes by. That one lists the others.
func meet(dir string) error {
	at, rank := net.JoinHostPort(os.Getenv("MASTER_ADDR"), os.Getenv("MASTER_PORT")), os.Getenv("RANK")
	if rank != "0" {
		for end := time.Now().Add(Patience); ; time.Sleep(20 * time.Millisecond) { // it may not be there yet, or have no name
			c, err := net.DialTimeout("tcp", at, time.Second)
			if err == nil {
				_, err = fmt.Fprintln(c, rank)
				return errors.Join(err, c.Close())
			}
			if time.Now().After(end) {
				return err
			}
		}
	}
	nodes, err := strconv.Atoi(os.Getenv("WORLD_SIZE"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", ":"+os.Getenv("MASTER_PORT"))
	if err != nil {
		return err
	}
	defer l.Close()
	for range nodes - 1 {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		b, err := io.ReadAll(c)
		if err = errors.Join(err, c.Close()); err != nil {
			return err
		}
		if err := appendTo(filepath.Join(dir, "met"), string(b)); err != nil {
			return err
		}
	}
	return nil
}

func work(s *step.Step, dir string) error {
	if err := s.WriteMetrics(map[string]float64{"roc_auc": 0.75}); err != nil {
		return err
	}
	if err := appendTo(s.Progress, `{"done":1,"total":2,"message":"half"}`+"\n"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.Scratch, "temporary"), []byte("x"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "result"), []byte("42\n"), 0o644)
}

func family(dir string) error {
	for _, c := range []struct {
		name, how string
		as        syscall.SysProcAttr
	}{
		{"child", "", syscall.SysProcAttr{}}, {"stubborn", "stubborn", syscall.SysProcAttr{}},
		{"apart", "stubborn", syscall.SysProcAttr{Setpgid: true}}, {"away", "stubborn", syscall.SysProcAttr{Setsid: true}},
	} {
		cmd := exec.Command(os.Args[0], "beat", filepath.Join(dir, c.name), c.how)
		cmd.SysProcAttr = &c.as
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	return nil
}

func fragile(s *step.Step, deaths int) error {
	starts := filepath.Join(s.Scratch, "starts")
	if err := appendTo(starts, "x"); err != nil {
		return err
	}
	b, err := os.ReadFile(starts)
	if err != nil {
		return err
	}
	if len(b) <= deaths {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
	}
	if s.Endpoint != nil {
		return serve(s, "")
	}
	time.Sleep(Patience)
	return nil
}

// FirstLine and LastLine are what the program "flood" prints first and last.
const FirstLine, LastLine = "the first line\n", "the last line\n"

func flood(n int) error {
	fmt.Print(FirstLine)
	lines := bytes.Repeat([]byte("a line of sixty-four bytes, which is what there is most of here\n"), 1024)
	for ; n > 0; n -= len(lines) {
		if _, err := os.Stdout.Write(lines); err != nil {
			return err
		}
	}
	fmt.Print(LastLine)
	return nil
}

// beat shows for as long as it lives that it does.
func beat(path string, stubborn bool) error {
	if stubborn {
		signal.Ignore(syscall.SIGTERM)
	}
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err := appendTo(path, "."); err != nil {
			return err
		}
	}
	return nil
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return joinClose(err, f)
}

func joinClose(err error, c io.Closer) error {
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return d
}

// EveryByte is 64 KiB in which every byte and no line occurs.
func EveryByte() []byte {
	b := make([]byte, 64<<10)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}
