// Package http says which latencies a prediction service measures.
package http

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/compute/entity"
)

// buckets of the latency histogram, in seconds, besides the thresholds that
// objectives ask about.
var buckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// Params adds latency_buckets, the bounds of the histogram. A threshold that an
// objective asks about has to be one of them, or it cannot be measured.
func Params(e entity.Entity) (map[string]any, error) {
	bounds := slices.Clone(buckets)
	for _, r := range e.Readers {
		if r.Section != "slos" {
			continue
		}
		var o struct{ Latency map[string]string }
		if err := r.Decode(&o); err != nil {
			return nil, err
		}
		for _, threshold := range o.Latency {
			bounds = append(bounds, duration.Parse(threshold).Seconds())
		}
	}
	slices.Sort(bounds)
	var out []any
	for _, b := range slices.Compact(bounds) {
		out = append(out, json.Number(strconv.FormatFloat(b, 'g', -1, 64)))
	}
	return map[string]any{"latency_buckets": out}, nil
}
