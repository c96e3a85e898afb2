package requestlog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

func head() requestlog.Head {
	return requestlog.Head{
		Unit: "deployments/api", Instance: "i", Model: "late", Version: 3, Inputs: map[string]string{"model": "sha256:m"}, Contract: "sha256:c",
		Request:  ir.Schema{{Name: "id", Type: "string"}, {Name: "email", Type: "string"}, {Name: "at", Type: "timestamp"}, {Name: "n", Type: "int64", Nullable: true}},
		Features: ir.Schema{{Name: "hour", Type: "int8"}, {Name: "share", Type: "float64"}},
		Label:    ir.Column{Name: "late", Type: "bool"}, Classes: []json.RawMessage{json.RawMessage("false"), json.RawMessage("true")},
		Private: []string{"email"},
	}
}

// request is a request of rows whose ids begin with a text.
func request(id string, rows int) *requestlog.Request {
	r := &requestlog.Request{ID: id, Began: time.UnixMicro(1_700_000_000_000_000), Took: 1500 * time.Microsecond, Rows: rows,
		Class: func(o []float64) (int, float64) {
			if o[1] > o[0] {
				return 1, o[1]
			}
			return 0, o[1]
		}}
	for i := range rows {
		r.Values = append(r.Values, rowsql.String(fmt.Sprint(id, "-", i)), rowsql.String("someone@example.org"), rowsql.Int(int64(i)), rowsql.Null)
		r.Features = append(r.Features, rowsql.Int(7), rowsql.Float(0.5))
		r.Outputs = append(r.Outputs, 0.25, 0.75)
	}
	return r
}

func open(t testing.TB, dir string, change func(*requestlog.Options)) *requestlog.Log {
	t.Helper()
	o := requestlog.Options{Dir: dir, Head: head(), Sample: 1, Interval: time.Hour}
	if change != nil {
		change(&o)
	}
	l, err := requestlog.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// rows are all rows of a folder, as names of columns and values.
func rows(t testing.TB, dir string) (all []map[string]rowsql.Value) {
	t.Helper()
	files, err := requestlog.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		r, err := requestlog.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		columns := r.Columns()
		err = r.Each(t.Context(), func(row []rowsql.Value) error {
			found := map[string]rowsql.Value{}
			for i, c := range columns {
				found[c.Name] = row[i]
			}
			all = append(all, found)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	return all
}

func TestRowsAreKeptWithWhatWasComputed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "requests")
	l := open(t, dir, nil)
	l.Add(request("a", 2))
	l.Add(request("b", 1))
	l.Close(10 * time.Second)
	found := rows(t, dir)
	if len(found) != 3 {
		t.Fatalf("%d rows are kept, wanted 3", len(found))
	}
	want := map[string]rowsql.Value{
		"time": rowsql.Int(1_700_000_000_000_000), "request_id": rowsql.String("a"), "row": rowsql.Int(1), "version": rowsql.Int(3), "digest": rowsql.String("sha256:m"), "latency_us": rowsql.Int(1500),
		"fallback": rowsql.Null, "request.id": rowsql.String("a-1"), "request.at": rowsql.Int(1), "request.n": rowsql.Null, "feature.hour": rowsql.Int(7), "feature.share": rowsql.Float(0.5),
		"prediction": rowsql.Bool(true), "probability": rowsql.Float(0.75), "probability.false": rowsql.Float(0.25), "probability.true": rowsql.Float(0.75),
	}
	for name, v := range want {
		if found[1][name] != v {
			t.Errorf("%s is %+v, wanted %+v", name, found[1][name], v)
		}
	}
	if len(found[1]) != len(want) {
		t.Errorf("it has %d columns, wanted %d", len(found[1]), len(want))
	}
	if c := l.Counts(); c.Written != 3 || c.Size == 0 {
		t.Errorf("counted %+v", c)
	}
}

// A row says why a fallback answered it.
func TestFallbacksAreKept(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	missed, both := request("a", 2), request("b", 2)
	missed.Missed, both.Missed, both.Instead = []string{"", "lookup weather"}, []string{"", "lookup weather"}, true
	l.Add(missed)
	l.Add(both)
	l.Add(request("c", 1))
	l.Close(10 * time.Second)
	var got []rowsql.Value
	for _, row := range rows(t, dir) {
		got = append(got, row["fallback"])
	}
	if want := []rowsql.Value{rowsql.Null, rowsql.String("lookup weather"), rowsql.String("version"), rowsql.String("version, lookup weather"), rowsql.Null}; !slices.Equal(got, want) {
		t.Errorf("fallbacks are %v, want %v", got, want)
	}
}

func TestPrivateColumnsAreNotWritten(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	l.Add(request("a", 100))
	l.Close(10 * time.Second)
	files, _ := requestlog.Files(dir)
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("someone")) {
		t.Error("the file has a value of a private column")
	}
}

func TestRequestsAreCopied(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	body := []byte("first")
	for _, text := range []string{"first", "other"} {
		copy(body, text)
		r := request("a", 1)
		r.Values[0].Text = unsafe.String(unsafe.SliceData(body), len(body))
		l.Add(r)
	}
	copy(body, "xxxxx")
	l.Close(10 * time.Second)
	found := rows(t, dir)
	for i, want := range []string{"first", "other"} {
		if got := found[i]["request.id"].Text; got != want {
			t.Errorf("row %d has %q, wanted %q", i, got, want)
		}
	}
}

// Memory of a request that waits in a row group is not used for another one.
func TestManyRequestsKeepTheirTexts(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	for i := range 2000 {
		l.Add(request(strings.Repeat(strconv.Itoa(i), 1+i%7), 1+i%3))
		if i%100 == 0 {
			time.Sleep(2 * time.Millisecond) // the writer keeps up, so that memory is used again
		}
	}
	l.Close(10 * time.Second)
	i, row := 0, 0
	for _, found := range rows(t, dir) {
		id := strings.Repeat(strconv.Itoa(i), 1+i%7)
		if want := fmt.Sprint(id, "-", row); found["request_id"].Text != id || found["request.id"].Text != want {
			t.Fatalf("request %d, row %d: it is %q, %q, wanted %q, %q", i, row, found["request_id"].Text, found["request.id"].Text, id, want)
		}
		if row++; row == 1+i%3 {
			i, row = i+1, 0
		}
	}
	if i != 2000 {
		t.Errorf("%d requests are kept", i)
	}
}

func TestFilesEndByRowsByTimeAndBySize(t *testing.T) {
	for name, change := range map[string]func(*requestlog.Options){
		"rows": func(o *requestlog.Options) { o.Rows = 10 },
		"size": func(o *requestlog.Options) { o.Keep = 1 << 16 }, // a file has an eighth
	} {
		dir := t.TempDir()
		l := open(t, dir, change)
		for i := range 20 {
			l.Add(request(strconv.Itoa(i), 10))
		}
		l.Close(10 * time.Second)
		if files, _ := requestlog.Files(dir); len(files) < 2 {
			t.Errorf("%s: there are %d files", name, len(files))
		}
	}
	dir := t.TempDir()
	l := open(t, dir, func(o *requestlog.Options) { o.Interval = 20 * time.Millisecond })
	defer l.Close(10 * time.Second)
	l.Add(request("a", 1))
	eventually(t, "the file is complete", func() bool { return l.Counts().Written == 1 })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came true that " + what)
		}
	}
}

func TestOldestFilesAreDeleted(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, func(o *requestlog.Options) { o.Rows, o.Keep = 50, 100_000 })
	for i := range 200 {
		r := request(strconv.Itoa(i), 50)
		r.Began = r.Began.Add(time.Duration(i) * time.Second)
		l.Add(r)
	}
	l.Close(10 * time.Second)
	files, _ := requestlog.Files(dir)
	size := int64(0)
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	c := l.Counts()
	if size > 100_000 || c.Size != size || c.Deleted != uint64(200-len(files)) || len(files) < 5 {
		t.Errorf("%d files of %d bytes are left, counted %+v", len(files), size, c)
	}
	if last := rows(t, dir); last[len(last)-1]["request_id"].Text != "199" {
		t.Error("the newest rows are deleted")
	}
}

// If files are moved to a store, those that have to be deleted are lost, and counted. Each row says
// which pod has answered.
func TestFilesThatNobodyTakesAwayAreLost(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, func(o *requestlog.Options) { o.Rows, o.Keep, o.Moved, o.Head.Pod = 50, 100_000, true, "api-7" })
	for i := range 200 {
		l.Add(request(strconv.Itoa(i), 50))
	}
	l.Close(10 * time.Second)
	c, left := l.Counts(), rows(t, dir)
	if c.Deleted == 0 || c.Dropped[requestlog.Store] != 50*c.Deleted || uint64(len(left))+c.Dropped[requestlog.Store] != c.Written {
		t.Errorf("%d rows are left, counted %+v", len(left), c)
	}
	if pod := left[0]["pod"]; pod != rowsql.String("api-7") {
		t.Errorf("the pod is %+v", pod)
	}
	if all := l.Reasons(); len(all) != 3 || all[2].String() != "store" {
		t.Errorf("rows are lost because of %v", all)
	}
}

func TestDiskThatFailsLosesRowsAndIsTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "requests")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // where the folder belongs
		t.Fatal(err)
	}
	var said []string
	l := open(t, dir, func(o *requestlog.Options) {
		o.Interval, o.Say = 10*time.Millisecond, func(s string) { said = append(said, s) }
	})
	l.Add(request("a", 3))
	l.Add(request("b", 3))
	eventually(t, "rows are lost", func() bool { return l.Counts().Dropped[requestlog.Disk] == 6 })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "rows are kept again", func() bool { l.Add(request("c", 1)); return l.Counts().Written > 0 })
	l.Close(10 * time.Second)
	if len(said) != 2 || !strings.Contains(said[0], "not a directory") || !strings.Contains(said[1], "again") {
		t.Errorf("it said %q", said)
	}
}

func TestFolderThatIsRemovedLosesTheOpenFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "requests")
	l := open(t, dir, func(o *requestlog.Options) { o.Rows = 4 })
	l.Add(request("a", 2))
	eventually(t, "a file is begun", func() bool { all, _ := os.ReadDir(dir); return len(all) == 1 })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.Add(request("b", 2))
	eventually(t, "its rows are lost", func() bool { return l.Counts().Dropped[requestlog.Disk] == 4 })
	eventually(t, "rows are kept again", func() bool { l.Add(request("c", 4)); return l.Counts().Written > 0 })
	l.Close(10 * time.Second)
}

func TestTooMuchThatWaitsIsLost(t *testing.T) {
	l := open(t, t.TempDir(), nil)
	r := request("a", 1)
	r.Values[0].Text = strings.Repeat("x", 40<<20)
	l.Add(r)
	l.Close(10 * time.Second)
	if c := l.Counts(); c.Dropped[requestlog.Queue] != 1 || c.Written != 0 {
		t.Errorf("counted %+v", c)
	}
}

// Processes of their own, see below.
func TestMain(m *testing.M) {
	if dir := os.Getenv("REQUESTLOG_DIR"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child logs until it is killed, or a number of requests.
func child(dir string) {
	if n, err := strconv.ParseUint(os.Getenv("REQUESTLOG_FSIZE"), 10, 64); err == nil {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			panic(err)
		}
	}
	n, _ := strconv.Atoi(os.Getenv("REQUESTLOG_N"))
	l, err := requestlog.Open(requestlog.Options{Dir: dir, Head: head(), Sample: 1, Rows: 1000, Interval: time.Hour})
	if err != nil {
		panic(err)
	}
	for i := 0; n == 0 || i < n; i++ {
		l.Add(request(fmt.Sprint(i), 10))
		time.Sleep(20 * time.Microsecond)
	}
	l.Close(10 * time.Second)
	fmt.Printf("%+v\n", l.Counts())
}

func command(t *testing.T, dir string, env ...string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(append(os.Environ(), "REQUESTLOG_DIR="+dir), env...)
	return c
}

func TestKilledServiceLeavesOnlyCompleteFiles(t *testing.T) {
	dir := t.TempDir()
	for range 5 {
		c := command(t, dir)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		before, _ := requestlog.Files(dir)
		eventually(t, "it writes", func() bool { now, _ := requestlog.Files(dir); return len(now) > len(before)+1 })
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
	}
	rows(t, dir) // which fails for a file that is not complete
	half, _ := filepath.Glob(filepath.Join(dir, ".new-*"))
	if len(half) == 0 {
		// No file was half written when it was killed.
		if err := os.WriteFile(filepath.Join(dir, ".new-half.parquet"), []byte("PAR1"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := open(t, dir, nil)
	l.Close(10 * time.Second)
	if half, _ = filepath.Glob(filepath.Join(dir, ".new-*")); len(half) > 0 {
		t.Errorf("the next service left %v", half)
	}
}

// A file that another version is writing stays.
func TestFileOfAnotherProcessStays(t *testing.T) {
	dir := t.TempDir()
	c := command(t, dir)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	eventually(t, "it writes", func() bool { now, _ := requestlog.Files(dir); return len(now) > 0 })
	for range 20 {
		open(t, dir, nil).Close(10 * time.Second)
	}
	before, _ := requestlog.Files(dir)
	eventually(t, "it writes on", func() bool { now, _ := requestlog.Files(dir); return len(now) > len(before)+3 })
}

func TestFileThatMayNotGrowLosesItsRows(t *testing.T) {
	dir := t.TempDir()
	out, err := command(t, dir, "REQUESTLOG_FSIZE=2000", "REQUESTLOG_N=1000").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "Written:0 Dropped:[0 10000 0]") {
		t.Errorf("it counted %s", out)
	}
	if all, _ := os.ReadDir(dir); len(all) != 0 {
		t.Errorf("it left %v", all)
	}
}

func TestIDs(t *testing.T) {
	for _, given := range []string{"abc", "6f9619ff-8b86-d011-b42d-00c04fc964ff", strings.Repeat("x", 128)} {
		if got := requestlog.ID(given); got != given {
			t.Errorf("%q became %q", given, got)
		}
	}
	seen := map[string]bool{}
	for _, given := range []string{"", "a b", "a\nb", `"`, strings.Repeat("x", 129), "ä"} {
		got := requestlog.ID(given)
		if len(got) != 32 || seen[got] {
			t.Errorf("%q became %q", given, got)
		}
		seen[got] = true
	}
}

func BenchmarkAdd(b *testing.B) {
	h := head()
	h.Request, h.Features = nil, nil
	r := &requestlog.Request{ID: "a", Began: time.Now(), Rows: 1, Outputs: []float64{0.25, 0.75}, Class: func([]float64) (int, float64) { return 1, 0.75 }}
	for i := range 20 {
		h.Request, r.Values = append(h.Request, ir.Column{Name: fmt.Sprint("r", i), Type: "float64"}), append(r.Values, rowsql.Float(float64(i)/3))
		h.Features, r.Features = append(h.Features, ir.Column{Name: fmt.Sprint("f", i), Type: "float64"}), append(r.Features, rowsql.Float(float64(i)/7))
	}
	l, err := requestlog.Open(requestlog.Options{Dir: b.TempDir(), Head: h, Sample: 1, Interval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	for i := 0; b.Loop(); i++ {
		l.Add(r)
		if i%1000 == 0 {
			time.Sleep(3 * time.Millisecond) // a service does not add faster than it predicts
		}
	}
	l.Close(time.Minute)
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(l.Counts().Dropped[requestlog.Queue])/float64(b.N), "lost/op")
}
