package main

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// gated is a system of one step, which waits for a file.
const gated = `package gated

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name: "gated"

steps: only: step.#Command & {
	command: ["sh", "gated.sh"]
	files: ["gated.sh"]
	outputs: out: kind: "file"
}
`

const gatedSh = `dir=${TENON_STEP%/.tenon/*} run=${TENON_STEP%/step.json}
echo "start steps/only" >> "$dir/ran"
while [ ! -e "$dir/go" ]; do sleep 0.02; done
echo "end steps/only" >> "$dir/ran"
echo done > "$run/out/out"
`

func newGated(t *testing.T) *system {
	s := newSystem(t, nil)
	t.Cleanup(s.remove)
	s.write("system.cue", gated)
	s.write("gated.sh", gatedSh)
	return s
}

// A tenonProcess is a running tenon.
type tenonProcess struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

func (s *system) start(args []string, env ...string) *tenonProcess {
	s.t.Helper()
	p := &tenonProcess{cmd: s.command(args, env...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// end waits for the process and returns its exit code.
func (p *tenonProcess) end() int {
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// Of ten concurrent applies one runs, and the others report who holds the lock.
func TestTenAppliesThatDoNotWait(t *testing.T) {
	s := newGated(t)
	ended := make(chan *tenonProcess, 10)
	for range cap(ended) {
		p := s.start([]string{"apply", "--yes"})
		go func() {
			p.end()
			ended <- p
		}()
	}
	for range cap(ended) - 1 {
		p := <-ended
		out := p.out.String()
		if code := p.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(out, "the state is locked by") || !strings.Contains(out, "(tenon apply)") || strings.Contains(out, "started") {
			t.Errorf("exit status %d:\n%s", code, out)
		}
	}
	s.write("go", "")
	p := <-ended
	if code := p.cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(p.out.String(), "1 ran") {
		t.Errorf("exit status %d:\n%s", code, &p.out)
	}
	s.hasRun("start steps/only\nend steps/only\n")
}

// Of ten concurrent applies that wait one does the work, and the others find it done.
func TestTenAppliesThatWait(t *testing.T) {
	s := newGated(t)
	s.write("go", "")
	var wg sync.WaitGroup
	var worked, found int
	var mu sync.Mutex
	for range 10 {
		p := s.start([]string{"apply", "--yes", "--lock-timeout", "5m"})
		wg.Go(func() {
			code := p.end()
			mu.Lock()
			defer mu.Unlock()
			switch out := p.out.String(); {
			case code != 0:
				t.Errorf("exit status %d:\n%s", code, out)
			case strings.Contains(out, "1 ran"):
				worked++
			case strings.Contains(out, "Nothing to do"):
				found++
			default:
				t.Errorf("said:\n%s", out)
			}
		})
	}
	wg.Wait()
	if worked != 1 || found != 9 {
		t.Errorf("%d did the work and %d found it done, want 1 and 9", worked, found)
	}
	s.hasRun("start steps/only\nend steps/only\n")
}

// The lock of a killed holder is free: whoever waits for it continues at once.
func TestTheLockOfAKilledApplyIsFree(t *testing.T) {
	s := newGated(t)
	first := s.start([]string{"apply", "--yes"}, faultLease+"=1h", faultKill+"=after the start of steps/only")
	if code := first.end(); code != -1 {
		t.Fatalf("exit status %d:\n%s", code, &first.out)
	}
	s.write("go", "")
	if out, err := s.tenon([]string{"apply", "--yes"}); err != nil || !strings.Contains(out, "1 ran") {
		t.Errorf("%v\n%s", err, out)
	}
	s.hasRun("start steps/only\nend steps/only\n")
}

func (s *system) hasRun(want string) {
	s.t.Helper()
	got, err := os.ReadFile(filepath.Join(s.dir, "ran"))
	if err != nil || string(got) != want {
		s.t.Errorf("%v, it ran:\n%s", err, got)
	}
}

// pauses lists the moments at which an apply is paused beyond its lease: one for each
// kind of unit, and some for the whole apply. Other moments behave the same.
var pauses = []*regexp.Regexp{
	regexp.MustCompile(`revision|lock|steps.shaky|deployments.c|slos.a|m.register|of run$`),
	regexp.MustCompile(`deployments.a|steps.left|forget`),
}

// harmless matches the moments at which an apply has not begun, or is over.
var harmless = regexp.MustCompile(`lock|after end revision`)

var ranLines = regexp.MustCompile(`(?m)^ran: .*$`)

// An apply that is paused for so long that another one takes its place changes nothing of
// what the other one did.
func TestPausedBeyondTheLease(t *testing.T) {
	type pause struct {
		phase  int
		moment string
	}
	next := make(chan pause)
	var wg sync.WaitGroup
	references := lanes(t, 4)
	moments := references[0].moments
	for _, ref := range references {
		wg.Go(func() {
			for p := range next {
				ref.pause(t, p.phase, p.moment)
			}
		})
	}
	n := 0
	for phase, which := range pauses {
		for _, m := range moments[phase] {
			if which.MatchString(m) {
				n++
				next <- pause{phase, m}
			}
		}
	}
	close(next)
	wg.Wait()
	fmt.Printf("tenon is paused at %d moments\n", n)
}

func (ref *reference) pause(t *testing.T, phase int, moment string) {
	s := newSystem(t, ref.ports)
	defer s.remove()
	fail := func(format string, args ...any) {
		t.Errorf("%s, paused %s: %s", phases[phase].name, moment, fmt.Sprintf(format, args...))
	}
	for _, p := range phases[:phase] {
		s.edit(p.edit)
		if out, err := s.tenon(p.args); err != nil {
			fail("before: %v\n%s", err, out)
			return
		}
	}
	s.edit(phases[phase].edit)
	args := phases[phase].args
	// One unit at a time: a stopped process keeps everything that it has locked, and must
	// be stopped between two writes. For the same reason it does not renew its lease in
	// the meantime.
	alone := args
	if args[0] == "apply" {
		alone = append(slices.Clone(args), "--parallel", "1")
	}
	paused := s.start(alone, faultStop+"="+moment, faultLease+"=24h")
	if err := paused.untilStopped(); err != nil {
		_ = paused.cmd.Process.Kill()
		fail("%v: exit status %d\n%s", err, paused.end(), &paused.out)
		return
	}
	if err := s.letLeaseEnd(); err != nil {
		fail("%v", err)
	}
	if out, err := s.tenon(append(slices.Clone(args), "--lock-timeout", "1m")); err != nil {
		fail("another one: %v\n%s", err, out)
	}
	before := s.outcome()
	if diff := difference(ref.outcomes[phase], before); diff != "" {
		fail("another one came out otherwise:\n%s", diff)
	}
	_ = paused.cmd.Process.Signal(syscall.SIGCONT)
	code, out := paused.end(), paused.out.String()
	if !harmless.MatchString(moment) && (code != 1 || !strings.Contains(out, "the lock on the state was taken over by another process")) {
		fail("exit status %d\n%s", code, out)
	}
	after := s.outcome()
	if strings.Contains(moment, "before the start of") {
		// Nothing can be checked between the check of the lock and the start: here the
		// unit does start, and is ended.
		before, after = ranLines.ReplaceAllString(before, ""), ranLines.ReplaceAllString(after, "")
	}
	if diff := difference(before, after); diff != "" {
		fail("it did something then:\n%s", diff)
	}
}

// letLeaseEnd makes the holder's lease expire.
func (s *system) letLeaseEnd() error {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(s.dir, ".tenon/state.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec("UPDATE lease SET expires = 1, holder = json_set(holder, '$.ttl_ns', 1)")
	return err
}

// untilStopped waits until the process has stopped itself.
func (p *tenonProcess) untilStopped() error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			return err
		}
		switch _, rest, _ := bytes.Cut(b, []byte(") ")); rest[0] {
		case 'T':
			return nil
		case 'Z':
			return errors.New("it ended before")
		}
	}
	return errors.New("it did not stop")
}
