package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// stored lists what services have stored.
func (b *fixture) stored() (all []string) {
	b.Helper()
	found, err := b.store.Kept(b.Context(), "f")
	b.ok(err)
	for _, k := range found {
		all = append(all, k.Name)
	}
	return all
}

// What a service keeps is stored while it runs, and what it writes when it is asked to end is
// stored before the pod ends.
func TestWhatAServiceKeepsIsStored(t *testing.T) {
	b := newFixture(t)
	kept := t.TempDir()
	task := b.job(`mkdir "$KEPT/requests"; cd "$KEPT/requests"; echo rows > .new-1; echo rows > .new-2; mv .new-1 1
trap 'mv .new-2 2; echo half > .new-3; exit 0' TERM; while true; do sleep 0.05; done`)
	task.Kind, task.Step.Outputs, task.Env = ir.Service, nil, map[string]string{"KEPT": kept}
	ship := pod.Ship{From: filepath.Join(kept, "requests"), To: "f", Most: 1 << 30, Status: filepath.Join(kept, "shipped", "requests.json")}
	task.Ships = []pod.Ship{{From: filepath.Join(kept, "audit"), To: "g", Most: 1 << 30, Status: filepath.Join(kept, "shipped", "audit.json")}, ship}
	c := b.start(task)
	for end := time.Now().Add(time.Minute); !slices.Equal(b.stored(), []string{"1"}); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there is %q; it says %s", b.stored(), c.said())
		}
	}
	b.ok(c.Process.Signal(unix.SIGTERM))
	c.wait()
	if got := b.stored(); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("there is %q; it says %s", got, c.said())
	}
	left, err := os.ReadDir(ship.From)
	if err != nil || len(left) != 1 || left[0].Name() != ".new-3" {
		t.Errorf("%v is left, %v", left, err)
	}
	var done step.Shipped
	text, err := os.ReadFile(ship.Status)
	if err == nil {
		err = json.Unmarshal(text, &done)
	}
	if err != nil || done.Files != 2 || done.Bytes != 10 || done.Failed != 0 || done.Last.IsZero() {
		t.Errorf("the service learns %s, %v", text, err)
	}
}

func (b *fixture) shipper(most int64) (s *shipper, write func(name, text string), said *strings.Builder) {
	from := b.TempDir()
	said = new(strings.Builder)
	s = &shipper{Ship: pod.Ship{From: from, To: "f", Most: most, Status: filepath.Join(b.TempDir(), "shipped.json")}, store: b.store, from: "api-0", say: func(line string) { said.WriteString(line + "\n") }}
	return s, func(name, text string) { b.ok(os.WriteFile(filepath.Join(from, name), []byte(text), 0o600)) }, said
}

// A store that takes nothing loses no file. The trouble is said once, and counted.
func TestFilesWaitForTheStore(t *testing.T) {
	b := newFixture(t)
	s, write, said := b.shipper(1 << 30)
	write("1", "rows")
	b.ok(os.WriteFile(filepath.Join(b.dir, "kept"), nil, 0o644)) // where a folder has to be
	for range 2 {
		if err := s.all(t.Context()); err == nil {
			t.Fatal("it was stored")
		}
	}
	if len(s.waiting()) != 1 || s.status.Failed != 2 || strings.Count(said.String(), "\n") != 1 {
		t.Errorf("%q wait, %+v, it says %s", s.waiting(), s.status, said)
	}
	b.ok(os.Remove(filepath.Join(b.dir, "kept")))
	b.ok(s.all(t.Context()))
	if got := b.stored(); !slices.Equal(got, []string{"1"}) || len(s.waiting()) > 0 || s.status.Fault != "" || !strings.HasSuffix(said.String(), "is stored again\n") {
		t.Errorf("there is %q, %+v, it says %s", got, s.status, said)
	}
}

// The oldest files of all pods are removed when they are larger than declared.
func TestOldFilesAreRemovedFromTheStore(t *testing.T) {
	b := newFixture(t)
	s, write, _ := b.shipper(10)
	other, writeOther, _ := b.shipper(10)
	other.from = "api-1"
	for _, name := range []string{"1", "3", "5"} {
		write(name, "rows")
	}
	writeOther("2", "rows")
	writeOther("4", "rows")
	b.ok(other.all(t.Context()))
	b.ok(s.all(t.Context()))
	s.retain(t.Context())
	if got := b.stored(); !slices.Equal(got, []string{"4", "5"}) || s.status.Removed != 3 {
		t.Errorf("there is %q, %+v", got, s.status)
	}
}
