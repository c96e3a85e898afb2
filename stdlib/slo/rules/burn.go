package rules

import (
	"time"

	"github.com/tenon-ml/tenon/internal/duration"
)

// A Burn is an alert on how fast an error budget is used up. It fires when the budget burns at the
// rate over both windows: the long one shows that it matters, the short one that it still lasts.
type Burn struct {
	Long, Short string  // windows, as the language writes them
	Budget      float64 // the share of the budget that is gone in the long window at that rate
	Rate        float64 // times the rate that uses up the budget in exactly its period
	Severity    string  // "page" or "ticket"
}

// Burns are the multi-window, multi-burn-rate alerts of the Site Reliability Workbook, chapter 5,
// table 5-8. The rates there are for a budget of 30 days; these are scaled to another period.
func Burns(period time.Duration) []Burn {
	all := []Burn{
		{Long: "1h", Short: "5m", Budget: 0.02, Severity: "page"},
		{Long: "6h", Short: "30m", Budget: 0.05, Severity: "page"},
		{Long: "1d", Short: "2h", Budget: 0.10, Severity: "ticket"},
		{Long: "3d", Short: "6h", Budget: 0.10, Severity: "ticket"},
	}
	for i := range all {
		all[i].Rate = all[i].Budget * period.Hours() / duration.Parse(all[i].Long).Hours()
	}
	return all
}

// burnWindows are all windows of [Burns], each once.
var burnWindows = []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d"}

// Predictions matches the paths of a service that predict: in JSON or Arrow, and by the Open Inference
// Protocol over REST and gRPC.
const Predictions = "/predict|/v2/models/.+/infer|/inference[.]GRPCInferenceService/ModelInfer"
