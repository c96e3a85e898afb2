package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
)

// No tenon runs between two commands, and yet a loop acts: a rule of EventBridge starts a pass of the controller as a job of AWS Batch,
// with an image that has tenon, with the rights of its role, and with what was sent. It trains in AWS.
func TestAScheduleRunsTheControllerInAWS(t *testing.T) {
	t.Parallel() // it mostly waits
	if os.Geteuid() != 0 {
		t.Skip("the emulator of AWS makes namespaces for jobs, for which it needs root")
	}
	emulator, err := awstest.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(emulator.Stop)
	s := newSystem(t, "testdata/scheduled")
	store := "s3://tenon-nightly-" + awstest.Account + "-" + awstest.Region + "/tenon/nightly/_/shared?endpoint=" + strings.NewReplacer(":", "%3A", "/", "%2F").Replace(emulator.Endpoint) +
		"&region=" + awstest.Region + "&use_path_style=true"
	s.env = append(emulator.Environ(), "TENON_STATE="+postgrestest.URL(t), "TENON_ARTIFACTS="+store)
	tags := []string{"-t", "region=" + awstest.Region, "-t", "base=" + base, "-t", "hosts=" + emulator.Hosts}
	rides := func(n int) {
		var rows strings.Builder
		rows.WriteString("id,miles,fare\n")
		for i := range n {
			fmt.Fprintf(&rows, "%d,%d,%d.5\n", i, i%9, 3*(i%9))
		}
		if err := os.WriteFile(filepath.Join(s.dir, "rides.csv"), []byte(rows.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rides(60)
	s.must(append([]string{"compile", "--format=terraform", "--out", "infrastructure"}, tags...)...)
	files := map[string][]byte{}
	paths, err := filepath.Glob(filepath.Join(s.dir, "infrastructure", "*.tf"))
	for _, path := range paths {
		if files[path], err = os.ReadFile(path); err != nil {
			break
		}
	}
	if err == nil {
		err = emulator.Provision(t.Context(), files)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.must(append([]string{"apply", "--yes"}, tags...)...)
	contains(t, s.must("run", "--detach"), "Detached: rule tenon-nightly-controller of EventBridge, every 5m, starts a pass")
	contains(t, s.must("run", "--status"), "rule tenon-nightly-controller of EventBridge, every 5m: ready: its last pass ended")

	// A person calls for a training, and nothing of tenon runs on this machine.
	rides(80)
	s.must("run", "--detach") // sends the rows
	s.must("loops", "trigger", "fare", "--reason", "more rides")
	if err := emulator.Fire("tenon-nightly-controller"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		history := s.must("history")
		if strings.Contains(history, "more rides, 4 ran") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no pass has trained:\n%s\n%s", history, s.must("logs", "--controller"))
		}
	}
	contains(t, s.must("logs", "--controller"), "decided: loops/fare  retrain: triggered by ")

	contains(t, s.must("run", "--stop"), "Stopped: rule tenon-nightly-controller of EventBridge")
	contains(t, s.must("run", "--status"), "No controller runs")
	s.must("destroy", "--yes")
	if left, err := emulator.Left(t.Context(), "nightly"); err != nil || len(left) > 0 {
		t.Errorf("a destroy leaves %v, %v", left, err)
	}
}
