package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// billing returns the cloud and the region whose rates a target pays, or "" if it is in no cloud.
func (w *Workspace) billing(ctx context.Context, system string, t ir.Target) (cloud, region string, err error) {
	setup, err := w.setup(ctx, system)
	if err != nil {
		return "", "", err
	}
	x, err := all.New(t, setup)
	if err != nil {
		return "", "", err
	}
	if b, ok := x.(executors.Billed); ok {
		region = b.BilledIn()
		return t.Executor, region, nil
	}
	return "", "", nil
}

// transfer returns what a plan fetches from a cloud, or nil if it runs in none.
func (w *Workspace) transfer(ctx context.Context, p *planner.Plan) (*planner.Transfer, error) {
	cloud, region, err := w.billing(ctx, p.System.Name, p.System.Target)
	if err != nil || cloud == "" {
		return nil, err
	}
	runs, err := w.store.CurrentRuns(ctx)
	if err != nil {
		return nil, err
	}
	t := &planner.Transfer{Cloud: cloud, Region: region}
	for _, i := range p.Items {
		if i.Kind != ir.Job || !i.Action.Changes() {
			continue
		}
		run, ok := runs[i.Unit]
		if !ok {
			t.Unknown = append(t.Unknown, i.Unit)
		}
		for _, a := range run.Outputs {
			t.Bytes += a.Size
		}
	}
	if t.Bytes == 0 && len(t.Unknown) == 0 {
		return nil, nil
	}
	file, err := prices.Open(w.set.Dir)
	if err != nil {
		return nil, err
	}
	t.Charge = file.Charge(cloud, region, prices.Egress)
	return t, nil
}

// Stored is what results take that the state records.
type Stored struct {
	By     string      `json:"by"`
	Cloud  string      `json:"cloud,omitempty"` // of the last target, "" if it is in none
	Region string      `json:"region,omitempty"`
	Rows   []StoredRow `json:"rows"` // the largest first
	Total  StoredRow   `json:"total"`
	// Charge is the rate of the region, or nil if no table has it.
	Charge *prices.Charge `json:"charge,omitempty"`
}

// A StoredRow is a group of results.
type StoredRow struct {
	Name    string        `json:"name"`
	Results int           `json:"results"`
	Bytes   int64         `json:"bytes"`
	Month   *money.Amount `json:"month,omitempty"` // nil is unknown
}

// storedBy are the groups in which results can be summed: those of costs that a unit alone decides.
var storedBy = []string{"entity", "model", "stage", "team", "unit"}

// Stored sums the sizes of results of all environments. One that several units have made is counted once, for the first of
// them. The rate is that of the target that was applied last.
func (w *Workspace) Stored(ctx context.Context, by string) (*Stored, error) {
	if !slices.Contains(storedBy, by) {
		return nil, &RequestError{fmt.Errorf("what is stored can be grouped by %s, not by %q", strings.Join(storedBy, ", "), by)}
	}
	runs, err := w.store.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	t, err := w.lastTarget(ctx)
	if err != nil {
		return nil, err
	}
	system, err := w.systemName(ctx)
	if err != nil {
		return nil, err
	}
	s := &Stored{By: by, Rows: []StoredRow{}, Total: StoredRow{Name: "total"}}
	if s.Cloud, s.Region, err = w.billing(ctx, system, t); err != nil {
		return nil, err
	}
	if s.Cloud != "" {
		file, err := prices.Open(w.set.Dir)
		if err != nil {
			return nil, err
		}
		s.Charge = file.Charge(s.Cloud, s.Region, prices.Storage)
	}
	seen, rows, names := map[string]bool{}, map[string]*StoredRow{}, map[string]string{}
	for _, run := range runs {
		name, ok := names[run.Unit]
		if !ok {
			if name, err = w.storedName(ctx, by, run.Unit); err != nil {
				return nil, err
			}
			names[run.Unit] = name
		}
		for _, a := range run.Outputs {
			if run.Outcome != state.Done || seen[a.Digest] || name == "" {
				continue
			}
			seen[a.Digest] = true
			if rows[name] == nil {
				rows[name] = &StoredRow{Name: name}
			}
			for _, r := range []*StoredRow{rows[name], &s.Total} {
				r.Results++
				r.Bytes += a.Size
			}
		}
	}
	for _, r := range rows {
		s.Rows = append(s.Rows, *r)
	}
	slices.SortFunc(s.Rows, func(a, b StoredRow) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name)) })
	for i := range s.Rows {
		s.Rows[i].price(s.Charge)
	}
	s.Total.price(s.Charge)
	return s, nil
}

func (r *StoredRow) price(c *prices.Charge) {
	if c != nil {
		month := c.Price.Times(r.Bytes, 1<<30)
		r.Month = &month
	}
}

// storedName names the group of a unit that may no longer be deployed, or returns "" if it has none.
func (w *Workspace) storedName(ctx context.Context, by, unit string) (string, error) {
	use := planner.Use{Unit: unit, Stage: "(removed)"}
	use.Entity, _ = ir.SplitID(unit)
	if by == "stage" || by == "team" {
		u, err := w.store.Unit(ctx, unit)
		switch {
		case errors.Is(err, state.ErrNotFound):
			use.Team = "(removed)"
		case err != nil:
			return "", err
		default:
			use.Stage, use.Team = stage(u), u.Team
		}
	}
	return spentBy[by](use, time.Time{}), nil
}
