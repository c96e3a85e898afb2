package gate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/steptest"
	"github.com/tenon-ml/tenon/stdlib/step"
)

var component = steptest.Component(Run)

const evaluated = `{
	"metrics": {"roc_auc": 0.70, "log_loss": 0.40, "f1": null},
	"baseline": {"roc_auc": 0.65, "log_loss": 0.50},
	"serving": {"roc_auc": 0.72, "log_loss": 0.38},
	"higher_is_better": {"roc_auc": true, "log_loss": false},
	"notes": []
}`

func TestGateChecksEachCondition(t *testing.T) {
	incomparable := strings.Replace(evaluated, `"serving": {"roc_auc": 0.72, "log_loss": 0.38}`, `"incomparable": "the incumbent, version 3, is not compared: its label is kind"`, 1)
	without := strings.NewReplacer(`, "log_loss": 0.38`, "", `"notes": []`, `"notes": ["of the incumbent, version 3, log_loss and brier_score_loss are omitted: the model predicts none"]`).Replace(evaluated)
	quantized := strings.Replace(evaluated, `"serving"`, `"unquantized": {"roc_auc": 0.71, "log_loss": 0.41}, "serving"`, 1)
	unsure := strings.Replace(quantized, `"serving"`, `"intervals": {"level": 0.9, "metrics": {"roc_auc": [0.66, 0.73], "log_loss": [0.37, 0.44]}, "differences": {
		"baseline": {"roc_auc": [0.03, 0.08], "log_loss": [-0.13, -0.08]}, "serving": {"roc_auc": [-0.04, 0], "log_loss": [0.01, 0.05]}, "unquantized": {"roc_auc": [-0.02, 0.01]}
	}}, "serving"`, 1)
	alone := strings.Replace(evaluated, `"serving": {"roc_auc": 0.72, "log_loss": 0.38},`, "", 1)
	for _, tt := range []struct{ name, report, gates, want string }{
		{"nothing to check", evaluated, `{}`, ""},
		{"at the floor", evaluated, `{"roc_auc": {"min": 0.7}}`, ""},
		{"below the floor", evaluated, `{"roc_auc": {"min": 0.71}}`, "roc_auc 0.7 is below the floor 0.71"},
		{"above the ceiling", evaluated, `{"log_loss": {"max": 0.39}}`, "log_loss 0.4 is above the ceiling 0.39"},
		{"enough better than the baseline", evaluated, `{"roc_auc": {"baseline_gain": 0.05}, "log_loss": {"baseline_gain": 0.1}}`, ""},
		{"not enough better, higher is better", evaluated, `{"roc_auc": {"baseline_gain": 0.06}}`, "roc_auc 0.7 is 0.05 better than the baseline 0.65, wanted at least 0.06 better"},
		{"not enough better, lower is better", evaluated, `{"log_loss": {"baseline_gain": 0.2}}`, "log_loss 0.4 is 0.1 better than the baseline 0.5, wanted at least 0.2 better"},
		{"a little worse than in service", evaluated, `{"roc_auc": {"serving_drop": 0.02}, "log_loss": {"serving_drop": 0.02}}`, ""},
		{"too much worse, higher is better", evaluated, `{"roc_auc": {"serving_drop": 0.01}}`, "roc_auc 0.7 is 0.02 worse than the model in service 0.72, wanted at most 0.01 worse"},
		{"too much worse, lower is better", evaluated, `{"log_loss": {"serving_drop": 0}}`, "log_loss 0.4 is 0.02 worse than the model in service 0.38, wanted at most 0 worse"},
		{"a little worse than before it was quantized", quantized, `{"roc_auc": {"quantized_drop": 0.01}, "log_loss": {"quantized_drop": 0}}`, ""},
		{"too much worse than before it was quantized", quantized, `{"roc_auc": {"quantized_drop": 0.005}}`,
			"roc_auc 0.7 is 0.01 worse than the model before it was quantized 0.71, wanted at most 0.005 worse"},
		{"a model that was not quantized", evaluated, `{"roc_auc": {"quantized_drop": 0}}`, "roc_auc is not in the report's values for the model before it was quantized"},
		{"no model in service", alone, `{"roc_auc": {"serving_drop": 0}}`, ""},
		{"a model in service that cannot be compared", incomparable, `{"roc_auc": {"serving_drop": 0}}`,
			`roc_auc cannot be compared with the model in service: the incumbent, version 3, is not compared: its label is kind; if the new model may replace it all the same, add incomparable: "pass" to the gate`},
		{"such a model, and it may be replaced", incomparable, `{"roc_auc": {"serving_drop": 0, "incomparable": "pass"}}`, ""},
		{"such a model, and a metric that does not exist", incomparable, `{"f1": {"serving_drop": 0, "incomparable": "pass"}}`, "f1 is not in the report"},
		{"a model in service without the metric", without, `{"log_loss": {"serving_drop": 0}}`,
			`log_loss cannot be compared with the model in service: the model in service has no log_loss: of the incumbent, version 3, log_loss and brier_score_loss are omitted: the model predicts none; if the new model may replace it all the same, add incomparable: "pass" to the gate`},
		{"such a model, and it may be replaced", without, `{"log_loss": {"serving_drop": 0, "incomparable": "pass"}}`, ""},
		{"a model in service that has the metric is compared, whatever is allowed", without, `{"roc_auc": {"serving_drop": 0.01, "incomparable": "pass"}}`,
			"roc_auc 0.7 is 0.02 worse than the model in service 0.72, wanted at most 0.01 worse"},
		{"a model in service without any metric", strings.Replace(evaluated, `{"roc_auc": 0.72, "log_loss": 0.38}`, `{"roc_auc": null}`, 1), `{"roc_auc": {"serving_drop": 0}}`,
			`roc_auc cannot be compared with the model in service: the model in service has no roc_auc; if the new model may replace it all the same, add incomparable: "pass" to the gate`},
		{"a metric that is null", evaluated, `{"f1": {"max": 1}}`, "f1 is not in the report"},
		{"a metric that does not exist", evaluated, `{"rmse": {"max": 1}}`, "rmse is not in the report"},
		{"a metric that was left out", strings.Replace(evaluated, `"notes": []`, `"notes": ["f1 and recall are left out: the test set lacks the class yes"]`, 1), `{"f1": {"min": 0}}`,
			"f1 is not in the report: f1 and recall are left out: the test set lacks the class yes"},
		{"no baseline of it", `{"metrics": {"f1": 1}}`, `{"f1": {"baseline_gain": 0}}`, "f1 is not in the report's values for the baseline"},
		{"no direction", `{"metrics": {"f1": 1}, "baseline": {"f1": 1}}`, `{"f1": {"baseline_gain": 0}}`, "the report does not say whether a higher f1 is better"},
		{"the interval does not count unless the gate says so", unsure, `{"roc_auc": {"min": 0.7}}`, ""},
		{"the worst end reaches all of them", unsure, `{
			"roc_auc": {"min": 0.66, "max": 0.73, "baseline_gain": 0.03, "serving_drop": 0.04, "quantized_drop": 0.02, "bound": "worst"},
			"log_loss": {"min": 0.37, "max": 0.44, "baseline_gain": 0.08, "serving_drop": 0.05, "bound": "worst"}}`, ""},
		{"the worst end reaches none, higher is better", unsure, `{"roc_auc": {"min": 0.67, "max": 0.72, "baseline_gain": 0.04, "serving_drop": 0.03, "quantized_drop": 0.01, "bound": "worst"}}`,
			`roc_auc may be as low as 0.66 (90 %: 0.66 to 0.73), below the floor 0.67
roc_auc may be as high as 0.73 (90 %: 0.66 to 0.73), above the ceiling 0.72
roc_auc may be only 0.03 better than the baseline (90 %: 0.03 to 0.08 better), wanted at least 0.04 better
roc_auc may be 0.04 worse than the model in service (90 %: -0.04 to 0 better), wanted at most 0.03 worse
roc_auc may be 0.02 worse than the model before it was quantized (90 %: -0.02 to 0.01 better), wanted at most 0.01 worse`},
		{"the worst end reaches none, lower is better", unsure, `{"log_loss": {"max": 0.43, "baseline_gain": 0.09, "serving_drop": 0.04, "bound": "worst"}}`,
			`log_loss may be as high as 0.44 (90 %: 0.37 to 0.44), above the ceiling 0.43
log_loss may be only 0.08 better than the baseline (90 %: 0.08 to 0.13 better), wanted at least 0.09 better
log_loss may be 0.05 worse than the model in service (90 %: -0.05 to -0.01 better), wanted at most 0.04 worse`},
		{"the worst end of what has no interval", strings.Replace(unsure, `"notes": []`, `"notes": ["log_loss has no interval: too few resamples define it"]`, 1), `{"log_loss": {"quantized_drop": 0.1, "bound": "worst"}}`,
			`log_loss is not in the report's intervals: log_loss has no interval: too few resamples define it; without bound: "worst", the gate compares the estimate`},
		{"the worst end, and no model in service", alone, `{"roc_auc": {"serving_drop": 0, "bound": "worst"}}`, ""},
		{"each failure, by metric", evaluated, `{"roc_auc": {"min": 0.8, "max": 0.6}, "log_loss": {"max": 0.1}}`,
			"log_loss 0.4 is above the ceiling 0.1\nroc_auc 0.7 is below the floor 0.8\nroc_auc 0.7 is above the ceiling 0.6"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := gateStep(t, tt.report, tt.gates)
			if tt.want == "" {
				component.Run(t, s)
			} else {
				component.Fails(t, s, tt.want)
			}
			b, err := os.ReadFile(s.Outputs["verdict"].Path)
			if err != nil {
				t.Fatal(err)
			}
			var v verdict
			if err := json.Unmarshal(b, &v); err != nil {
				t.Fatal(err)
			}
			if v.Passed != (tt.want == "") || v.Checks == nil {
				t.Errorf("verdict %s", b)
			}
		})
	}
}

// A verdict says why a condition passed for which nothing was compared.
func TestAVerdictSaysThatNothingWasCompared(t *testing.T) {
	zero := 0.0
	for report, want := range map[string]string{
		`{"metrics": {"f1": 1}}`: "no other model is in service",
		`{"metrics": {"f1": 1}, "incomparable": "column x is missing"}`: "column x is missing",
	} {
		var e evaluation
		if err := json.Unmarshal([]byte(report), &e); err != nil {
			t.Fatal(err)
		}
		v := judge(map[string]gates{"f1": {ServingDrop: &zero, Incomparable: "pass"}}, e)
		if !v.Passed || v.Checks[0].Note != want {
			t.Errorf("%s: %+v, want the note %q", report, v.Checks[0], want)
		}
	}
}

func TestGateRefusesAnUnknownCondition(t *testing.T) {
	component.Fails(t, gateStep(t, evaluated, `{"roc_auc": {"minimum": 1}}`), `unknown field "minimum"`)
}

func gateStep(t *testing.T, report, gates string) *step.Step {
	t.Helper()
	s := steptest.New(t, "evaluate.gate", `{"gates": `+gates+`}`, "verdict")
	s.Inputs["report"] = step.Port{Kind: ir.Report, Path: filepath.Dir(steptest.Write(t, "report.json", report))}
	return s
}
