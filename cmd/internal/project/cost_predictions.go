package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// A Served is what a service, or the services of a model, cost for each prediction that they made.
type Served struct {
	Name        string        `json:"name"`
	Cost        money.Amount  `json:"cost"`
	Currency    string        `json:"currency,omitempty"`
	Predictions *int64        `json:"predictions"`              // null if unknown
	Each        *money.Amount `json:"per_prediction,omitempty"` // rounded up
	Unknown     string        `json:"unknown,omitempty"`        // why the number of predictions is
}

// severalModels is the group of services that answer with more than one model.
const severalModels = "(several models)"

// servedBy are the ways to group services by what they serve.
var servedBy = map[string]func(planner.Use) string{
	"unit": func(u planner.Use) string { return u.Unit },
	"model": func(u planner.Use) string {
		switch len(u.Models) {
		case 0:
			return ""
		case 1:
			return u.Models[0]
		}
		return severalModels
	},
}

// served returns the costs of services for each prediction that their logs of requests have.
func (w *Workspace) served(ctx context.Context, by string, uses []planner.Use, since, until time.Time) ([]Served, error) {
	group, ok := servedBy[by]
	if !ok {
		return nil, &RequestError{fmt.Errorf("the cost of a prediction is known by unit and by model, not by %s", by)}
	}
	services := slices.DeleteFunc(slices.Clone(uses), func(u planner.Use) bool { return u.Job || !u.To.After(since) || !u.From.Before(until) })
	deployed, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	counts, whys := map[string]int64{}, map[string]string{} // by unit
	for _, u := range services {
		if _, known := counts[u.Unit]; known || whys[u.Unit] != "" {
			continue
		}
		if why := uncounted(u.Unit, services); why != "" {
			whys[u.Unit] = why
			continue
		}
		n, why, err := w.predictions(ctx, deployed.units[u.Unit], since)
		if err != nil {
			return nil, err
		}
		if counts[u.Unit] = n; why != "" {
			whys[u.Unit] = why
		}
	}
	return servedFrom(services, since, until, group, counts, whys), nil
}

// servedFrom divides the costs of groups of services by the predictions of their units. A group is
// unknown if one of its units is.
func servedFrom(services []planner.Use, since, until time.Time, group func(planner.Use) string, counts map[string]int64, whys map[string]string) []Served {
	out := []Served{}
	for _, s := range planner.SpentBy(services, since, until, func(u planner.Use, _ time.Time) string { return group(u) }) {
		row := Served{Name: s.Name, Cost: s.Cost, Currency: s.Currency}
		var n int64
		seen := map[string]bool{}
		for _, u := range services {
			if group(u) != s.Name {
				continue
			}
			if u.Currency != s.Currency && row.Unknown == "" { // each row would have all predictions, and a part of the cost
				row.Unknown = "not all of its time has a price in one currency"
			}
			if seen[u.Unit] {
				continue
			}
			seen[u.Unit] = true
			if why := whys[u.Unit]; why != "" && row.Unknown == "" {
				row.Unknown = why
			}
			n += counts[u.Unit]
		}
		if row.Unknown == "" && n == 0 {
			row.Unknown = "its log has no request of this time"
		}
		if row.Unknown == "" {
			row.Predictions = &n
			if s.Currency != "" {
				each := s.Cost.Times(1, n)
				row.Each = &each
			}
		}
		out = append(out, row)
	}
	return out
}

// uncounted says why the log of a service does not have all its predictions, or returns "".
func uncounted(unit string, services []planner.Use) string {
	for _, u := range services {
		if u.Unit == unit && u.Uncounted != "" {
			return u.Uncounted
		}
	}
	return ""
}

// uncountedIn says why a service that was deployed under a name does not log all that it predicts, or
// returns "".
func uncountedIn(u *ir.Unit, now string) string {
	var params struct {
		Log *struct {
			Sample float64 `json:"sample"`
		} `json:"log"`
	}
	switch {
	case json.Unmarshal(u.Params, &params) != nil || params.Log == nil:
		return "it does not log its requests, or did not: add log: {}"
	case params.Log.Sample != 1:
		return fmt.Sprintf("its log has only a sample of its requests: %v", params.Log.Sample)
	case u.ID != now:
		return "it was renamed, and has begun another log"
	}
	return ""
}

// modelsOf returns the models that a service answers with.
func modelsOf(u *ir.Unit) (models []string) {
	for _, in := range u.Inputs {
		if in.Kind == ir.Model && !in.Incumbent {
			entity, _ := ir.SplitID(in.Unit)
			models = append(models, entity)
		}
	}
	slices.Sort(models)
	return slices.Compact(models)
}

// predictions counts the rows in the log of a service since a time, or says why they are unknown. Rows
// that are in no complete file yet, and rows that were lost, are not counted.
func (w *Workspace) predictions(ctx context.Context, u *ir.Unit, since time.Time) (n int64, unknown string, err error) {
	if u == nil {
		return 0, "it is not deployed any more", nil
	}
	dir, err := w.requestLog(ctx, u, since)
	var partial *executors.PartialError
	switch {
	case errors.As(err, &partial):
		return 0, "its log is not complete without that of " + strings.Join(partial.Lacks, ", ") + ", which does not answer", nil
	case err != nil:
		return 0, "", err
	}
	var params struct {
		Log struct {
			Keep string `json:"keep"`
		} `json:"log"`
	}
	if err := json.Unmarshal(u.Params, &params); err != nil {
		return 0, "", fmt.Errorf("read the parameters of %s: %w", u.ID, err)
	}
	// The service deletes the oldest files when all of them would exceed the limit.
	if keep := ir.ParseSize(params.Log.Keep); keep > 0 && sizeOfFiles(dir) > keep-keep/8 {
		return 0, "its log is nearly full, so that older rows may be gone: raise its keep", nil
	}
	err = w.askServe(ctx, "requests", u, requests.Selection{Log: dir, Since: since}, func([]byte) error { n++; return nil })
	return n, "", err
}

// sizeOfFiles returns the size of the files in a folder, as far as they can be read.
func sizeOfFiles(dir string) (size int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && strings.HasSuffix(e.Name(), ".parquet") {
			size += info.Size()
		}
	}
	return size
}
