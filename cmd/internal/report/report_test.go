package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/internal/report"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/golden"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// attack is a name that a user could give to anything.
const attack = `<script>alert("1")</script>`

// twoClasses is the evaluation of a classifier of two classes.
const twoClasses = `{
	"metrics": {"accuracy": 0.75, "log_loss": 0.5, "roc_auc": null}, "baseline": {"accuracy": 0.5, "log_loss": 0.7},
	"intervals": {"level": 0.9, "resamples": 1000, "metrics": {"accuracy": [0.625, 0.875]}, "differences": {"baseline": {"accuracy": [0.1, 0.4]}}},
	"higher_is_better": {"accuracy": true, "log_loss": false}, "rows": 8, "notes": ["a note"],
	"details": {
		"details": 1, "task": "classification", "label": "late", "rows": 8, "classes": ["no", "<script>alert(\"1\")</script>"],
		"positive": "<script>alert(\"1\")</script>", "threshold": {"value": 0.5},
		"confusion": {"counts": [[3, 1], [1, 3]], "shares": [[0.75, 0.25], [0.25, 0.75]]},
		"per_class": [
			{"class": "no", "rows": 4, "predicted": 4, "precision": 0.75, "recall": 0.75, "f1": 0.75},
			{"class": "<script>alert(\"1\")</script>", "rows": 4, "predicted": 4, "precision": 0.75, "recall": null, "f1": 0.75, "reasons": {"recall": "no row"}}],
		"curves": [{
			"class": "<script>alert(\"1\")</script>",
			"roc": {"fpr": [0, 0.25, 1], "tpr": [0, 0.75, 1], "area": 0.8},
			"precision_recall": {"recall": [1, 0.5, 0], "precision": [0.5, 0.8, 1], "average_precision": 0.77, "share": 0.5},
			"calibration": {"reason": "the model gives no probabilities"},
			"scores": {"edges": [0, 0.5, 1], "of_class": [1, 3], "of_others": [3, 1]}}],
		"importances": {"kind": "coefficient", "features": [{"name": "hour", "value": -2}, {"name": "wind", "value": 1}], "other_features": 3},
		"segments": [{"column": "origin", "groups": [
			{"group": "EWR", "rows": 6, "metrics": {"accuracy": 0.5, "roc_auc": null}, "reasons": ["the group lacks the class no"]},
			{"group": "<script>alert(\"1\")</script>", "rows": 2, "reason": "fewer than 20 rows"}]}]
	}
}`

// aRegression is that of a regressor.
const aRegression = `{
	"metrics": {"r2": 0.5}, "higher_is_better": {"r2": true}, "rows": 4,
	"details": {
		"details": 1, "task": "regression", "label": "delay", "rows": 4,
		"predicted": {"edges": [-10, 0, 10], "counts": [[2, 0], [1, 1]]},
		"residuals": {"edges": [-5, 0, 5], "counts": [1, 3]},
		"quantiles": {"of": [0, 0.5, 1], "values": [-5, 0.25, 5]},
		"by_prediction": {"bins": [
			{"rows": 2, "predicted": -3, "actual": -2, "low": -1, "median": 0, "high": 2},
			{"rows": 2, "predicted": 4, "actual": 5, "low": -4, "median": 1, "high": 3}]},
		"importances": {"reason": "Ridge has none"}
	}
}`

func reportOn(t *testing.T, evaluation string, revision int) *project.Report {
	t.Helper()
	e := new(project.Evaluation)
	if err := json.Unmarshal([]byte(evaluation), e); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 3600))
	return &project.Report{
		Lineage: &project.Lineage{Unit: "models/late/evaluate", From: []*project.Lineage{
			{Unit: "models/late/train", From: []*project.Lineage{{Unit: "sources/flights", Digest: "sha256:0123456789abcdef", Files: map[string]string{attack: "sha256:ab"}}}},
			{Unit: "sources/flights"},
		}},
		System: attack, Name: "models/late", Revision: revision, Started: at,
		Units: []*project.UnitReport{
			{Unit: "models/late/split", Kind: ir.Job, Outputs: []project.OutputFacts{{
				Port: "test", Kind: ir.Table, Digest: "sha256:0123456789abcdef", Rows: 8,
				Columns: []project.ColumnFacts{{Column: ir.Column{Name: attack, Type: "string", Nullable: true, Description: attack}, Nulls: 2}},
			}}},
			{
				Unit: "models/late/evaluate", Kind: ir.Job, Component: "evaluate.classification", Evaluation: e,
				Run:    &project.RunFacts{Revision: 3, Started: at, Took: 1500 * time.Millisecond},
				Inputs: []project.InputFacts{{Name: "test", From: "models/late/split", Digest: "sha256:0123456789abcdef"}},
				Params: []project.Param{{Name: "evaluation.task", Value: json.RawMessage(`"` + "<b>" + `"`)}},
			},
		},
	}
}

func page(t *testing.T, r *project.Report) string {
	t.Helper()
	html, err := report.Page(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(html)
}

func has(t *testing.T, html, want string) {
	t.Helper()
	if lacks := golden.Match(html, want); lacks != "" {
		_, body, _ := strings.Cut(html, "<body>")
		t.Errorf("%s\nin\n%s", lacks, body)
	}
}

func TestThePageOfAClassifier(t *testing.T) {
	html := page(t, reportOn(t, twoClasses, 0))
	has(t, html, `...
<title>models/late</title>
...
<tr><td class="label">revision</td><td>what is deployed</td></tr>
<tr><td class="label">evaluated by</td><td>models/late/evaluate</td></tr>
<tr><td class="label">run</td><td>2026-05-04 02:02:01 UTC, took 1.5s, in revision @3</td></tr>
<tr><td class="label">from test</td><td>models/late/split 0123456789ab</td></tr>
<tr><td class="label">test rows</td><td>8</td></tr>
...
<li>a note</li>
...
<h2>Metrics</h2>
...
<thead><tr><th><span>metric</span></th><th><span>value</span></th><th><span>90 % interval</span></th><th><span>baseline</span></th></tr></thead>
...
<tr><td>roc_auc</td><td>–</td><td>–</td><td>–</td></tr>
<tr><td>accuracy</td><td>0.75</td><td>0.625 to 0.875</td><td>0.5</td></tr>
<tr><td>log_loss (lower is better)</td><td>0.5</td><td>–</td><td>0.7</td></tr>
...
<h2>Confusion</h2>
...
<tr><td class="label">no</td><td class="dark" title="75% of the row" style="--shade:0.75">3 (75%)</td><td title="25% of the row" style="--shade:0.25">1 (25%)</td></tr>
...
<figcaption>ROC</figcaption>
<svg ...
<p class="hint">area 0.8; the point is the threshold 0.5</p>
...
<figcaption>Precision and recall</figcaption>
...
<figcaption>Calibration</figcaption>

<p class="reason">Not shown: the model gives no probabilities</p>
...
<figcaption>Scores</figcaption>
...
<h2>Classes</h2>
...
<tr><td>no</td><td>4</td><td>4</td><td>0.75</td><td>0.75</td><td>0.75</td></tr>
...
<h2>Importances</h2>
<p class="hint">coefficient; 3 more features are less important. Pale bars are negative</p>
...
<tr><td>hour</td><td class="bars"><span class="bar s0 negative" style="width:100%"></span></td><td>-2</td></tr>
<tr><td>wind</td><td class="bars"><span class="bar s0" style="width:50%"></span></td><td>1</td></tr>
...
<h2>By origin</h2>
<p class="hint">*: the group lacks the class no; fewer than 20 rows.</p>
...
<summary>models/late/split</summary>
...
<h2>Made from</h2>
...
<tr><td>models/late/evaluate</td><td></td></tr>
<tr><td>    models/late/train</td><td></td></tr>
<tr><td>        sources/flights</td><td>0123456789ab</td></tr>
<tr><td>            &lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;</td><td>ab</td></tr>
<tr><td>    sources/flights</td><td>above</td></tr>
...
`)
}

// A service has the state that it is in, which the page does not follow.
func TestThePageOfAService(t *testing.T) {
	html := page(t, &project.Report{Name: "deployments/api", Units: []*project.UnitReport{{
		Unit: "deployments/api", Kind: ir.Service, Component: "serve.http",
		Status:   &project.UnitStatus{Endpoint: "http://127.0.0.1:80", Phase: state.Ready},
		Unstable: &state.Unstable{Ports: []string{"a", "b"}, Revision: 3},
		Run:      &project.RunFacts{Usage: state.Usage{CPU: time.Second, PeakMem: 5 << 20}, Devices: []string{"GPU 0"}},
		Outputs:  []project.OutputFacts{{Port: "endpoint", Kind: ir.EndpointOf, Digest: "sha256:ab"}},
	}}})
	has(t, html, `...
<tr><td class="label">service</td><td>http://127.0.0.1:80 ready, when the page was written</td></tr>
<tr><td class="label">audit</td><td>not deterministic: a and b differed in revision @3</td></tr>
<tr><td class="label">used</td><td>1s of cpu, 5 MiB of memory</td></tr>
<tr><td class="label">devices</td><td>GPU 0</td></tr>
<tr><td class="label">to endpoint</td><td>endpoint</td></tr>
...
`)
}

func TestThePageOfARegressor(t *testing.T) {
	has(t, page(t, reportOn(t, aRegression, 0)), `...
<figcaption>Predicted and actual</figcaption>
...
<figcaption>Residuals by prediction</figcaption>
...
<figcaption>Residuals</figcaption>
...
<h2>Quantiles of the residuals</h2>
...
<tr><td>50%</td><td>0.25</td></tr>
...
<h2>Importances</h2>
<p class="hint">Ridge has none</p>
</div>
...
`)
}

func TestTwoAreShownSideBySide(t *testing.T) {
	before, after := reportOn(t, twoClasses, 3), reportOn(t, twoClasses, 7)
	figure := func(v float64) *float64 { return &v }
	html, err := report.Comparison(&project.Compared{
		Name: "models/late", Before: before, After: after,
		Metrics: []project.MetricChange{
			{Unit: "models/late/evaluate", Name: "log_loss", Before: figure(0.5), After: figure(0.75), Change: figure(0.25), Verdict: project.Worse},
			{Unit: "models/late/evaluate", Name: "accuracy", Before: figure(0.5), After: nil},
			{Unit: "models/late/train", Name: "rows", Before: figure(4), After: figure(3), Change: figure(-1)},
		},
		Changes: []planner.EntityChange{
			{Entity: "models/late", Change: planner.Edited, Fields: []planner.FieldChange{{Field: attack, Before: json.RawMessage("1"), After: json.RawMessage(`"` + attack + `"`)}}},
			{Entity: "sources/a", Change: planner.Removed},
		},
		Inputs: []project.InputChange{{Unit: "sources/flights", Name: "flights.csv", Before: "sha256:0123456789abcdef"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	has(t, string(html), `...
<title>models/late: @3 and @7</title>
...
<h2><span class="key s0"></span>@3</h2>
...
<h2><span class="key s1"></span>@7</h2>
...
<li>The two were evaluated on different test rows: ...
...
<tr><td>accuracy</td><td>0.5</td><td>–</td><td>–</td><td></td></tr>
<tr><td>log_loss</td><td>0.5</td><td>0.75</td><td class="worse">&#43;0.25</td><td class="worse">worse</td></tr>
<tr><td>train: rows</td><td>4</td><td>3</td><td>-1</td><td></td></tr>
...
<h2>Confusion, @3</h2>
...
<h2>Confusion, @7</h2>
...
<tr><td>sources/a</td><td></td><td></td><td>removed</td></tr>
...
<tr><td>sources/flights</td><td>flights.csv</td><td>0123456789ab</td><td>–</td></tr>
...
<p class="hint"><span class="key s0"></span>@3: area 0.8; the point is the threshold 0.5</p>
<p class="hint"><span class="key s1"></span>@7: area 0.8; the point is the threshold 0.5</p>
...
`)
	wellFormed(t, string(html))
	if n := strings.Count(string(html), `<polyline class="line s1"`); n != 2 {
		t.Errorf("%d curves of the second, not ROC and precision-recall", n)
	}
}

// Nothing of a user's is markup, and nothing is fetched or run.
func TestNamesAreTexts(t *testing.T) {
	for name, evaluation := range map[string]string{"classification": twoClasses, "regression": aRegression} {
		html := page(t, reportOn(t, evaluation, 0))
		for _, never := range []string{"<script", "<b>", "javascript:", "http:", "https:", "url(", "@import", "<link", "<img"} {
			if strings.Contains(html, never) {
				t.Errorf("%s: the page has %s", name, never)
			}
		}
		if !strings.Contains(html, "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;") {
			t.Errorf("%s: the page lacks the name", name)
		}
		if !strings.HasPrefix(html, report.Beginning) || !strings.Contains(html, `content="default-src 'none'; style-src 'unsafe-inline'"`) {
			t.Errorf("%s: it does not begin as a page does, or has no policy", name)
		}
		wellFormed(t, html)
	}
}

func TestThePageIsTheSameBytes(t *testing.T) {
	first := page(t, reportOn(t, twoClasses, 2))
	for range 5 {
		if again := page(t, reportOn(t, twoClasses, 2)); again != first {
			t.Fatal("two pages of one report differ")
		}
	}
}

// Reports of other components and of earlier versions have metrics at most.
func TestLittleIsKnown(t *testing.T) {
	for _, evaluation := range []string{
		`{}`,
		`{"metrics": {"loss": 1}}`,
		`{"metrics": {}, "details": {"details": 1, "task": "classification"}}`,
		`{"metrics": {}, "details": {"details": 1, "task": "regression"}}`,
		`{"details": {"details": 1, "task": "regression", "predicted": {"edges": [0, 0], "counts": [[3]]}, "residuals": {"edges": [0, 0], "counts": [3]}, "by_prediction": {"bins": [{"rows": 3}]}}}`,
		`{"details": {"details": 1, "task": "classification", "classes": ["a"], "confusion": {"counts": [[1, 2], [3]], "shares": []}, "curves": [{"class": "b", "scores": {"edges": [1], "of_class": [4]}}]}}`,
	} {
		wellFormed(t, page(t, reportOn(t, evaluation, 1)))
		r := reportOn(t, evaluation, 1)
		if _, err := report.Comparison(&project.Compared{Name: "models/late", Before: r, After: reportOn(t, twoClasses, 2)}); err != nil {
			t.Errorf("%s: %v", evaluation, err)
		}
	}
	bare := &project.Report{Name: "deployments/api", Units: []*project.UnitReport{{Unit: "deployments/api", Kind: ir.Service}}}
	has(t, page(t, bare), "...\n<tr><td class=\"label\">run</td><td>not recorded, or removed by tenon gc</td></tr>\n...\n")
}

var empty = regexp.MustCompile(`<meta[^>]*>`)

// wellFormed checks that every element is closed, and that no number is undefined.
func wellFormed(t *testing.T, html string) {
	t.Helper()
	if strings.Contains(html, "NaN") || strings.Contains(html, "Inf") {
		t.Error("the page has a number that is not finite")
	}
	_, body, _ := strings.Cut(html, "-->\n")
	d := xml.NewDecoder(bytes.NewReader(empty.ReplaceAll([]byte(body), nil)))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("the page is not well-formed: %v", err)
			return
		}
	}
}
