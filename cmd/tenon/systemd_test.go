package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/executors/all"
)

// The unit runs a folder whose name has everything that systemd treats specially, and systemd accepts it.
func TestSystemdUnit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a "b" $c 5% \d`)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := project.Settings{Dir: dir, Env: "prod", Cache: filepath.Join(dir, "cache"), State: "postgres://ann:secret@db/tenon", Config: all.Config{Tenon: "/bin/true"}}
	unit := systemdUnit(s, "churn", runOptions{every: 5 * time.Second, parallel: 2})
	for _, want := range []string{"Description=Tenon controller of prod churn\n", "KillMode=process\n", `"--env" "prod"`, `"--parallel" "2"`, `$$c 5%% \\d`, "TENON_STATE=postgres://... belongs into the file"} {
		if !strings.Contains(unit, want) {
			t.Errorf("it lacks %q", want)
		}
	}
	if strings.Contains(unit, "secret@") {
		t.Error("it has the password of the database")
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed, so nothing says whether systemd accepts the unit")
	}
	path := filepath.Join(t.TempDir(), "tenon-churn.service")
	if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), path) {
		t.Errorf("systemd-analyze: %v\n%s\n%s", err, out, unit)
	}
}
