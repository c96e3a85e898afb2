package plane

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// logging is a plane of an exported model with a log in a folder.
func logging(t testing.TB, name, dir string) (*Plane, exported) {
	m, x := readExported(t, name)
	p, _ := planeOf(t, func(c *Config) {
		c.Model = m
		var err error
		c.Requests, err = requestlog.Open(requestlog.Options{Dir: dir, Sample: 1, Head: requestlog.Head{Request: m.Columns(), Classes: m.Classes(), Label: c.Label, Version: 4, Inputs: map[string]string{"model": "sha256:abc"}}})
		if err != nil {
			t.Fatal(err)
		}
	})
	return p, x
}

func TestTheLogHasWhatWasAnswered(t *testing.T) {
	for _, name := range []string{"hist", "hist_regression"} {
		dir := t.TempDir()
		p, x := logging(t, name, dir)
		p.warmUp(t.Context())
		answered(t, ask(p, "POST", "/predict", `{"instances": 7}`), 422, "")
		var got struct {
			Predictions []struct {
				Prediction  any      `json:"prediction"`
				Probability *float64 `json:"probability"`
			} `json:"predictions"`
		}
		if err := json.Unmarshal(ask(p, "POST", "/predict", string(x.Request)).Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		p.Requests.Close(10 * time.Second)
		files, err := requestlog.Files(dir)
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %d files, %v", name, len(files), err)
		}
		r, err := requestlog.OpenFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		err = r.Each(t.Context(), func(row []rowsql.Value) error {
			want := got.Predictions[i]
			if n := row[r.Index(requestlog.RowNumber)].Int(); n != int64(i) {
				t.Errorf("%s: row %d has the number %d", name, i, n)
			}
			v := row[r.Index(requestlog.Prediction)]
			shown := fmt.Sprint(v.Float())
			if want.Probability != nil {
				shown = fmt.Sprint(v.Bool())
				if p := row[r.Index(requestlog.Probability)].Float(); p != *want.Probability {
					t.Errorf("%s: row %d has the probability %v, answered was %v", name, i, p, *want.Probability)
				}
			}
			if shown != fmt.Sprint(want.Prediction) {
				t.Errorf("%s: row %d has the prediction %s, answered was %v", name, i, shown, want.Prediction)
			}
			i++
			return nil
		})
		if r.Close(); err != nil || i != len(got.Predictions) {
			t.Errorf("%s: %d rows of %d, %v", name, i, len(got.Predictions), err)
		}
		text := string(p.text())
		if want := fmt.Sprintf("tenon_request_log_rows_total{deployment=\"api\"} %d.0\n", i); !strings.Contains(text, want) || !strings.Contains(text, `tenon_request_log_dropped_rows_total{deployment="api",reason="disk"} 0.0`) {
			t.Errorf("%s: the metrics lack %s", name, want)
		}
	}
}

// In a cluster, the metrics have what was done with complete files.
func TestMetricsOfALogThatIsStored(t *testing.T) {
	p, _ := logging(t, "hist", t.TempDir())
	defer p.Requests.Close(10 * time.Second)
	p.shipped = filepath.Join(t.TempDir(), "shipped.json")
	for _, files := range []int{0, 3} {
		if files > 0 {
			if err := os.WriteFile(p.shipped, []byte(`{"files": 3, "bytes": 1000, "failed": 1, "removed": 0}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		text := string(p.text())
		if want := fmt.Sprintf("tenon_request_log_stored_files_total{deployment=\"api\"} %d.0\n", files); !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestAnswersHaveTheIDOfTheRequest(t *testing.T) {
	p, x := logging(t, "hist", t.TempDir())
	defer p.Requests.Close(10 * time.Second)
	for given, kept := range map[string]bool{"abc-1": true, "": false, "not valid": false} {
		r := httptest.NewRequest("POST", "/predict", strings.NewReader(string(x.Request)))
		r.Header.Set("X-Request-Id", given)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if id := w.Result().Header.Get("X-Request-Id"); w.Code != 200 || id == "" || kept != (id == given) {
			t.Errorf("%q: %d, %q", given, w.Code, id)
		}
	}
	p, x = planeOf(t, nil)
	if id := ask(p, "POST", "/predict", string(x.Request)).Result().Header.Get("X-Request-Id"); id != "" {
		t.Errorf("without a log it answers with the id %q", id)
	}
}

func TestADiskThatFailsFailsNoRequest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "requests")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p, x := logging(t, "hist", dir)
	for range 100 {
		answered(t, ask(p, "POST", "/predict", string(x.Request)), 200, "")
	}
	p.Requests.Close(10 * time.Second)
	if c := p.Requests.Counts(); c.Written != 0 || c.Dropped[requestlog.Disk] == 0 {
		t.Errorf("it counted %+v", c)
	}
}

func BenchmarkPredictWithLog(b *testing.B) {
	for _, log := range []bool{false, true} {
		b.Run(fmt.Sprint(log), func(b *testing.B) {
			p, x := logging(b, "hist", b.TempDir())
			if !log {
				p.Requests = nil
			}
			var request struct{ Instances []json.RawMessage }
			if err := json.Unmarshal(x.Request, &request); err != nil {
				b.Fatal(err)
			}
			body := fmt.Sprintf(`{"instances":[%s]}`, request.Instances[0])
			for b.Loop() {
				ask(p, "POST", "/predict", body)
			}
			if log {
				p.Requests.Close(time.Minute)
				b.ReportMetric(float64(p.Requests.Counts().Dropped[requestlog.Queue])/float64(b.N), "lost/op")
			}
		})
	}
}

// fallbacks counts the rows of a log by why a fallback answered them.
func fallbacks(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	files, err := requestlog.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int64{}
	for _, path := range files {
		r, err := requestlog.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		err = r.Each(t.Context(), func(row []rowsql.Value) error {
			n[row[r.Index(requestlog.Fallback)].Text]++
			return nil
		})
		if r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return n
}
