package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
)

func TestFuelGoesFromPostgresToATableOfPredictions(t *testing.T) {
	dsn := postgrestest.Start(t).Database()
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
