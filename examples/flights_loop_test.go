package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The demo of a loop ends with an error unless storms lead to a training and a release, and mixed labels
// to a rollback, without a failed request.
func TestTheDemoOfALoop(t *testing.T) {
	s := newSystem(t, "flights-loop")
	cmd := exec.Command("bash", filepath.Join(s.dir, "demo.sh"))
	cmd.Env = append(os.Environ(), "TENON_DEMO_PACE=short", fmt.Sprintf("TENON_DEMO_PORT=%d", freePort(t)), "PATH="+filepath.Dir(tenonPath)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("the demo: %v", err)
	}
	contains(t, string(out), "monitors/weather alert: ", "retrained in revision ", "late v2 100 %: it was good at 20 %", "rolled back in revision ", "Done. No request failed")

	page, err := os.ReadFile(filepath.Join(s.dir, ".tenon", "reports", "loops-late.html"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(page), "late v2 answers 20 %", "late v3 answers 20 %", "requests of each version", "<td>rolled back</td>")
	if n := strings.Count(string(page), `class="event ok"`); n == 0 {
		t.Error("no plot shows a training")
	}
}
