package executors

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

func TestTaskNamesAreShortAndSafe(t *testing.T) {
	key := ir.RunKey("d", nil)
	long := "models/" + strings.Repeat("very_long_", 10) + "name/train"
	for unit, want := range map[string]string{
		"models/late/train": "models-late-train",
		"models/Late_2":     "models-late-2",
		"../..":             "",
		long:                "",
	} {
		got := TaskName("", unit, key, 2)
		if want != "" && got != want+"-"+key[:12]+"-2" {
			t.Errorf("%s: %s", unit, got)
		}
		if len(got) > 63 || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(got, "-") {
			t.Errorf("%s: %s is not safe", unit, got)
		}
	}
	if TaskName("", long+"1", key, 1) == TaskName("", strings.Replace(long, "models", "nodels", 1)+"1", key, 1) {
		t.Error("two long names give the same name")
	}
	if got := TaskName("prod", "deployments/api", key, 1); got != "prod-deployments-api-"+key[:12]+"-1" {
		t.Errorf("in an environment: %s", got)
	}
}

func TestCodeIsLaidOutOnceAndReadOnly(t *testing.T) {
	l := layout{t.TempDir()}
	code := []ir.CodeFile{{Path: "b/run.sh", Digest: ir.Sum([]byte("x"))}, {Path: "a", Digest: ir.Sum(nil)}}
	blobs := map[string][]byte{ir.Sum([]byte("x")): []byte("x"), ir.Sum(nil): nil}
	dir, err := l.makeCode(code, blobs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.RemoveAll(dir) })
	slices.Reverse(code)
	if again, err := l.makeCode(code, nil); err != nil || again != dir {
		t.Errorf("again: %s, %v; the order of code says nothing", again, err)
	}
	for _, p := range []string{"", "a", "b", "b/run.sh"} {
		info, err := os.Stat(filepath.Join(dir, p))
		if err != nil || info.Mode().Perm() != 0o555 {
			t.Errorf("%q: %v, %v", p, info.Mode(), err)
		}
	}
	for want, f := range map[string]ir.CodeFile{
		`lay out code: "../x" is outside the code folder`: {Path: "../x", Digest: ir.Sum(nil)},
		"lay out code: y: the plan has no blob ?":         {Path: "y", Digest: "?"},
	} {
		if _, err := l.makeCode([]ir.CodeFile{f}, blobs); errText(err) != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	damaged := ir.CodeFile{Path: "z", Digest: ir.Sum([]byte("z"))}
	if _, err := l.makeCode([]ir.CodeFile{damaged}, map[string][]byte{damaged.Digest: []byte("other")}); err == nil {
		t.Error("a damaged blob is laid out")
	}
	if left, _ := filepath.Glob(filepath.Join(l.dir, "code", ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBackoffDoublesUpToAMinute(t *testing.T) {
	w := walk{o: Options{}.withDefaults()}
	for tries, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 9: time.Minute, 99: time.Minute} {
		for range 100 {
			if d := w.backoff(tries); d < want/2 || d > want {
				t.Fatalf("after %d tries: %s, want between %s and %s", tries, d, want/2, want)
			}
		}
	}
}

func TestAwaitBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &slow{until: time.Now().Add(time.Minute)}
		st, err := await(t.Context(), e, state.Handle{})
		if err != nil || st.Phase != state.Succeeded {
			t.Errorf("%+v, %v", st, err)
		}
		if e.asked > 70 {
			t.Errorf("asked %d times in a minute", e.asked)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		e.until = time.Now().Add(time.Hour)
		if _, err := await(ctx, e, state.Handle{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// slow is an executor whose only job ends at a given time.
type slow struct {
	Executor
	until time.Time
	asked int
}

func (s *slow) Inspect(context.Context, state.Handle) (state.Status, error) {
	s.asked++
	if time.Now().Before(s.until) {
		return state.Status{Phase: state.Running}, nil
	}
	return state.Status{Phase: state.Succeeded}, nil
}

func TestTheLogsEndHidesSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var log strings.Builder
	for range 5000 {
		log.WriteString("a line that is not shown\n")
	}
	log.WriteString("token is hunter22, \xff\r\nlast\n\n")
	if err := os.WriteFile(path, []byte(log.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	got := logTail(path, map[string]string{"TOKEN": "hunter22", "EMPTY": "", "SHORT": "l"})
	if n := len(got); n != 20 || got[n-1] != "last" || !strings.HasPrefix(got[n-2], "token is ***") {
		t.Errorf("%d lines, the last of which are %q", n, got[max(0, n-2):])
	}
	if got := logTail(path+"none", nil); got != nil {
		t.Errorf("of no log: %q", got)
	}
}

func TestEventsCanBeEncodedAsJSON(t *testing.T) {
	b, err := json.Marshal(Result{Failed: []*UnitError{{Unit: "models/a", Err: errors.New("no"), Attempt: 1}}})
	if err != nil || !strings.Contains(string(b), `{"unit":"models/a","attempt":1,"error":"no"}`) {
		t.Errorf("%s, %v", b, err)
	}
	if b, err = json.Marshal(Event{Unit: "models/a", Type: EventReused}); err != nil || string(b) != `{"time":"0001-01-01T00:00:00Z","unit":"models/a","type":"reused"}` {
		t.Errorf("%s, %v", b, err)
	}
}

func TestRemovalOrder(t *testing.T) {
	in := func(units ...string) *ir.Unit {
		u := &ir.Unit{}
		for _, id := range units {
			u.Inputs = append(u.Inputs, ir.Input{Unit: id})
		}
		return u
	}
	got := removalOrder([]string{"a", "b", "c", "unknown"}, map[string]*ir.Unit{"b": in("a", "stays"), "c": in("b")})
	if at := func(s string) int { return slices.Index(got, s) }; len(got) != 4 || at("c") > at("b") || at("b") > at("a") {
		t.Errorf("order %v", got)
	}
}
