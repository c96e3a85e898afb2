package project

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// apart runs a shell script as the program that reads classes is run, and returns what it
// printed.
func apart(t *testing.T, ctx context.Context, script string, environ ...string) (string, error) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	err = runApart(ctx, []string{"/bin/sh", "-c", script}, t.TempDir(), environ, log)
	b, readErr := os.ReadFile(log.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(b), err
}

func TestAPackageSeesNoSecrets(t *testing.T) {
	said, err := apart(t, t.Context(), "env; pwd", "PASSWORD=hunter2", "HOME=/home/me", "PATH="+os.Getenv("PATH"))
	if err != nil {
		t.Fatal(err, said)
	}
	if strings.Contains(said, "hunter2") || strings.Contains(said, "/home/me") {
		t.Errorf("it sees\n%s", said)
	}
}

func TestAPackageHasNoNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may always make a namespace")
	}
	said, err := apart(t, t.Context(), "cat /proc/self/net/dev", "PATH="+os.Getenv("PATH"))
	if err != nil {
		t.Fatal(err, said)
	}
	for _, line := range strings.Split(strings.TrimSpace(said), "\n")[2:] {
		if !strings.HasPrefix(strings.TrimSpace(line), "lo:") {
			t.Errorf("it has the interface %s", line)
		}
	}
}

func TestWhatAPackageStartsEndsWithIt(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := apart(t, ctx, "sleep 60 & sleep 60"); err == nil {
		t.Error("it did not end early")
	}
	mark := filepath.Join(t.TempDir(), "mark")
	if _, err := apart(t, t.Context(), "(sleep 1; touch "+mark+") &"); err != nil {
		t.Error(err)
	}
	time.Sleep(1500 * time.Millisecond)
	if exists(mark) {
		t.Error("what it started still ran")
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}
