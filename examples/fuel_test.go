package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestFuelGoesFromPostgresToATableOfPredictions(t *testing.T) {
	dsn := startPostgres(t)
	s := newSystem(t, "fuel")
	s.env = []string{"FUEL_DSN=" + dsn}
	psql := exec.Command("psql", dsn, "-q", "-v", "ON_ERROR_STOP=1", "-f", "cars.sql")
	psql.Dir = s.dir
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("load the cars: %v\n%s", err, out)
	}

	s.must("apply", "--yes")
	if r2 := s.show("models/mpg/evaluate").Run.Metrics["r2"]; r2 < 0.7 || r2 > 0.99 {
		t.Errorf("R2 is %v", r2)
	}
	contains(t, s.must("show", "deployments/estimates", "--rows", "3"), "3 of 8 rows")
	summary, err := os.ReadFile(s.show("steps/summary").Artifacts["summary"])
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(summary), "| Japan | 79 |", "8 cars were not measured")
	contains(t, s.must("plan"), "Nothing to do: all 11 units are up to date.")

	err = filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), dsn) {
			t.Errorf("the connection string was written to %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// startPostgres starts a server of its own from Debian's binaries, as a user
// without rights, and returns a connection string with a password in it.
func startPostgres(t *testing.T) string {
	t.Helper()
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bins) == 0 {
		t.Fatal("this test needs PostgreSQL: apt-get install postgresql")
	}
	dir, err := os.MkdirTemp("", "tenon-postgres-") // short, and open to another user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("s3cret-of-the-test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) error {
		cmd := exec.Command(filepath.Join(bins[len(bins)-1], name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attr
		log, err := os.CreateTemp("", "tenon-postgres-log-")
		if err != nil {
			return err
		}
		defer os.Remove(log.Name())
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			out, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s: %w\n%s", name, err, out)
		}
		return nil
	}
	data, port := filepath.Join(dir, "data"), freePort(t)
	if err := run("initdb", "-D", data, "-U", "tenon", "--auth", "scram-sha-256", "--pwfile", password); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("-p %d -k %s -c listen_addresses=127.0.0.1 -c fsync=off", port, dir)
	if err := run("pg_ctl", "-D", data, "-o", options, "-l", filepath.Join(dir, "log"), "-w", "start"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("postgresql://tenon:s3cret-of-the-test@127.0.0.1:%d/postgres", port)
}
