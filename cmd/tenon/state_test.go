package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
)

// An apply that has its state in a database, and is killed and repeated, has the same
// result as an undisturbed one with its state in a folder.
func TestKilledWithItsStateInADatabase(t *testing.T) {
	const moments = 8
	var wg sync.WaitGroup
	next := make(chan int)
	for _, ref := range lanes(t, 2) {
		wg.Go(func() {
			for i := range next {
				ref.kill(t, i*len(ref.moments[0])/moments, postgrestest.URL(t))
			}
		})
	}
	for i := range moments {
		next <- i
	}
	close(next)
	wg.Wait()
}

// The server of the state may be killed and restarted while units run: nothing is done
// twice, whether tenon waits for it or is killed as well.
func TestTheServerOfTheStateIsKilled(t *testing.T) {
	server := postgrestest.Start(t)
	s := newGated(t)
	s.database = server.URL()

	first := s.start([]string{"apply", "--yes"})
	s.untilRan("start steps/only\n")
	s.check(server.Kill())
	s.write("go", "")
	s.untilRan("start steps/only\nend steps/only\n")
	s.check(server.Restart())
	if code := first.end(); code != 0 || !strings.Contains(first.out.String(), "1 ran") {
		t.Errorf("exit status %d:\n%s", code, &first.out)
	}

	s.check(os.Remove(filepath.Join(s.dir, "go")))
	second := s.start([]string{"apply", "--yes", "--rerun", "steps/only"})
	s.untilRan("start steps/only\nend steps/only\nstart steps/only\n")
	s.check(server.Kill())
	s.check(second.cmd.Process.Kill())
	second.end()
	s.write("go", "")
	if out, err := s.tenon([]string{"apply", "--yes"}); err == nil || !strings.Contains(out, "cannot reach the state") || strings.Contains(out, postgrestest.Password) {
		t.Errorf("without the server: %v\n%s", err, out)
	}
	s.check(server.Restart())
	if out, err := s.tenon([]string{"apply", "--yes"}); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	s.hasRun(strings.Repeat("start steps/only\nend steps/only\n", 2))
	if out, err := s.tenon([]string{"plan", "--detailed-exitcode"}); err != nil {
		t.Errorf("there is still something to do: %v\n%s", err, out)
	}
}

func (s *system) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// untilRan waits until the units have written that text.
func (s *system) untilRan(want string) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		got, _ := os.ReadFile(filepath.Join(s.dir, "ran"))
		if string(got) == want {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("it ran:\n%s", got)
		}
	}
}
