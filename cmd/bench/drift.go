package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// The drift of a table of driftColumns columns, in comparison with Evidently.
const (
	driftRow     = "drift of a table of 50 columns"
	driftColumns = 50
	driftTexts   = 10   // of these columns; the others are numbers
	driftGoal    = 20.0 // times as fast as Evidently
)

// measureDrift measures the process that measures a monitor over a window of a request log, and
// Evidently from the files to its scores: its imports do not count. Both have to come to the same figures.
func (b *bench) measureDrift(ctx context.Context) error {
	if !b.wants(driftRow, b.drift) {
		return nil
	}
	b.say(driftRow, b.drift)
	bin, err := b.pythonOf(ctx, "evidently")
	if err != nil {
		return err
	}
	dir := b.path("drift")
	script, err := rivalFiles.ReadFile("rivals/drift.py")
	if err := errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "drift.py"), script, 0o644)); err != nil {
		return err
	}
	python := filepath.Join(bin, "python")
	if _, err := b.run(ctx, command{dir: dir, args: []string{python, "drift.py", "make", fmt.Sprint(b.drift)}}); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, "question.json"), driftQuestion(dir)); err != nil {
		return err
	}
	var ours, theirs map[string]float64
	m, other, err := b.versus(ctx, leastRuns(b.drift),
		command{dir: dir, args: []string{"sh", "-c", `exec "$0" monitor <question.json`, filepath.Join(filepath.Dir(b.tenon), "tenon-duck")}, check: func(out string) (err error) {
			ours, err = driftScores(out)
			return err
		}},
		command{dir: dir, args: []string{python, "drift.py", "compare"}, env: []string{"DO_NOT_TRACK=1"}, took: func(out string) (time.Duration, error) {
			lines := strings.Split(strings.TrimSpace(out), "\n")
			var doc struct {
				Scores  map[string]float64
				Seconds float64
			}
			err := json.Unmarshal([]byte(lines[len(lines)-1]), &doc)
			theirs = doc.Scores
			return time.Duration(doc.Seconds * float64(time.Second)), err
		}})
	if err != nil {
		return err
	}
	if err := sameScores(ours, theirs); err != nil {
		return err
	}
	faster := ratio(other, m)
	b.rows = append(b.rows, tableRow{Case: driftRow, Size: b.drift, Of: "rows", Tenon: m, Beside: "Evidently", Other: &other, Goals: []goal{
		{Want: fmt.Sprintf("at least %g times faster", driftGoal), Got: fmt.Sprintf("%.1f times", faster), Met: faster >= driftGoal},
	}})
	return nil
}

// driftQuestion asks for the drift of the requests that drift.py has made.
func driftQuestion(dir string) window.Question {
	day := time.Date(2020, 6, 1, 0, 0, 0, 0, time.UTC)
	d := &ir.Drift{Alpha: 0.05, Correction: measure.Holm}
	add := func(name, typ string) {
		d.Columns = append(d.Columns, ir.Compared{Logged: ir.Logged{Name: name, Log: requests.RequestPrefix + name, Type: typ}})
	}
	for i := range driftColumns - driftTexts {
		add(fmt.Sprintf("n%d", i), "float64")
	}
	for i := range driftTexts {
		add(fmt.Sprintf("c%d", i), "string")
	}
	return window.Question{
		Monitor: ir.Monitor{MinRows: 1, Drift: d}, Log: filepath.Join(dir, "log"), Reference: filepath.Join(dir, "reference.parquet"),
		Begin: day, End: day.AddDate(0, 0, 1), Now: day.AddDate(0, 0, 1),
	}
}

// driftScores reads the statistics of the columns in a report.
func driftScores(out string) (map[string]float64, error) {
	var r window.Answer
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return nil, err
	}
	scores := map[string]float64{}
	for _, f := range r.Figures {
		if f.Name == measure.FigureDrift && f.Value != nil {
			scores[f.Column] = *f.Value
		}
	}
	return scores, nil
}

// sameScores refuses to compare what comes to different figures.
func sameScores(ours, theirs map[string]float64) error {
	if len(ours) != driftColumns || len(theirs) != driftColumns {
		return fmt.Errorf("tenon has the drift of %d columns, and Evidently of %d", len(ours), len(theirs))
	}
	for name, x := range ours {
		if y, ok := theirs[name]; !ok || math.Abs(x-y) > 1e-9*math.Abs(y) {
			return fmt.Errorf("column %s: the drift is %v, and of Evidently %v", name, x, theirs[name])
		}
	}
	return nil
}
