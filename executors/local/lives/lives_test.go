package lives_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors/local/lives"
)

const killed, failed = 128 + 9, 3

// pauses lets a program live for some seconds each, and returns the pauses after that. A
// failure of the service is -1.
func pauses(status int, lived ...float64) (pauses []float64) {
	now := time.Unix(1000, 0)
	l := lives.First(now)
	for _, s := range lived {
		now = l.Since.Add(time.Duration(s * float64(time.Second)))
		if !l.Again(now, status) {
			return append(pauses, -1)
		}
		pauses = append(pauses, l.Since.Sub(now).Seconds())
	}
	return pauses
}

func TestWhetherAProgramIsStartedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		status      int
		lived, want []float64
	}{
		"the pause grows, and the fifth short life fails": {killed, []float64{1, 1, 1, 1, 1}, []float64{0.5, 1, 2, 4, -1}},
		"a long life makes up for short ones":             {killed, []float64{1, 1, 60, 1, 1}, []float64{0.5, 1, 0, 0.5, 1}},
		"who ends by itself at first does so again":       {failed, []float64{1}, []float64{-1}},
		"even with success":                               {0, []float64{1}, []float64{-1}},
		"later it is started again":                       {failed, []float64{60, 1, 1, 1, 1, 1}, []float64{0, 0.5, 1, 2, 4, -1}},
	} {
		if got := pauses(c.status, c.lived...); !slices.Equal(got, c.want) {
			t.Errorf("%s: the pauses are %v, want %v", name, got, c.want)
		}
	}
}

func TestOthersLearnOfTheLives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lives")
	now := time.Unix(1000, 0)
	l := lives.First(now)
	l.Again(now.Add(time.Second), killed)
	if err := l.Write(path); err != nil {
		t.Fatal(err)
	}
	want := "started again once, because it was killed by SIGKILL"
	if got, ok := lives.Read(path); !ok || got.String() != want || !got.Since.Equal(l.Since) {
		t.Errorf("it reads %+v, %v, as %q; want %q", got, ok, got, want)
	}
	l.Again(now.Add(2*time.Minute), failed)
	if got, want := l.String(), "started again 2 times, last because it ended with status 3"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	for _, text := range []string{"", "2", "2 5", "2 5 x", "x 5 y\n", "1 5 y\n", "2 x y\n", "2 5 a\nb\n", "2 5 \x1b[31m\n", "-2 5 y\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, ok := lives.Read(path); ok {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

// A service whose lives are just being written would seem to be in its first one, which it
// has survived.
func TestTheLivesAreReadWhileTheyAreWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lives")
	l := lives.First(time.Unix(1000, 0))
	l.Again(time.Unix(1001, 0), killed)
	if err := l.Write(path); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := l.Write(path); err != nil {
				stopped <- err
				return
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	for range 20_000 {
		if _, ok := lives.Read(path); !ok {
			t.Error("there are none")
			break
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

// A program in a container can put a link where its lives are written.
func TestLivesAreNotWrittenThroughALink(t *testing.T) {
	for _, name := range []string{"lives", "lives.part"} {
		dir := t.TempDir()
		other, path := filepath.Join(dir, "other"), filepath.Join(dir, "lives")
		if err := os.Symlink(other, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := (lives.Lives{Starts: 2, Since: time.Unix(1000, 0)}).Write(path); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(other); err == nil {
			t.Errorf("%s led to another file", name)
		}
		if _, ok := lives.Read(path); !ok {
			t.Errorf("%s kept the lives from being read", name)
		}
	}
}
