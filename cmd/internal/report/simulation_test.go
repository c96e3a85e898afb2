package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/internal/report"
	"github.com/tenon-ml/tenon/planner/state"
)

// The page of a simulation draws the quality of each loop, and writes texts of users as texts.
func TestSimulationPage(t *testing.T) {
	from := time.Date(2013, 10, 1, 0, 0, 0, 0, time.UTC)
	week := 7 * 24 * time.Hour
	l := project.SimulatedLoop{
		Loop: "late", Judge: "monitors/truth", Metric: "roc_auc",
		Acts:   []project.SimulatedAct{{At: from.Add(week), Act: state.LoopRetrain, Reason: "<b>drift</b>", Outcome: "version 2", Version: 2}},
		Alerts: []project.SimulatedAlert{{Monitor: "monitors/inputs", At: from.Add(week), Count: 3, Was: project.AlertFalse, Why: "roc_auc 0.7 >= 0.6"}},
	}
	for i := range 4 {
		begin := from.Add(time.Duration(i) * week)
		l.Quality = append(l.Quality, project.SimulatedQuality{
			Begin: begin, End: begin.Add(week), Rows: 100, With: map[string]float64{"roc_auc": 0.7}, Without: map[string]float64{"roc_auc": 0.6 + float64(i)/100},
		})
	}
	without := l
	without.Loop, without.Metric, without.Notes = "late@2", "", []string{"no labels"}
	page, err := report.SimulationPage(&project.Simulation{From: from, To: from.Add(4 * week), Requests: "features/departures", Loops: []project.SimulatedLoop{l, without}})
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{"Simulation of late and late@2", "&lt;b&gt;drift", "roc_auc 0.7 &gt;= 0.6", "no labels", "with late@2"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if n := strings.Count(text, "<svg"); n != 1 {
		t.Errorf("there are %d plots, want 1", n)
	}
}
