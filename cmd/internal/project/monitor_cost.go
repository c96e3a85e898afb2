package project

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// Figures of a monitor of costs, in the currency of its limits.
const (
	figurePerDay        = "cost_per_day"
	figurePerPrediction = "cost_per_prediction"
)

// spent measures what a deployment costs, from what tenon cost reports. A window that began before the first
// revision has no costs there.
func (w *Workspace) spent(ctx context.Context, q *window.Question) (*window.Answer, error) {
	c := q.Monitor.Cost
	s, err := w.Spent(ctx, "unit", c.PerPrediction != nil, q.Begin, q.End)
	if err != nil {
		return nil, err
	}
	var figures []measure.Figure
	if c.PerDay != nil {
		var sum money.Amount
		f := limitedTo(figurePerDay, *c.PerDay)
		for _, row := range s.Rows {
			if entity, _ := ir.SplitID(row.Name); !slices.Contains(c.Entities, entity) {
				continue
			}
			if row.Currency != c.Currency {
				f.Reason = row.Name + " had no price in " + c.Currency
			}
			sum = sum.Plus(row.Cost)
		}
		if f.Reason == "" {
			f.Value = inCurrency(sum.Times(int64(24*time.Hour), int64(q.Monitor.Window)))
		}
		figures = append(figures, f)
	}
	var predictions int64
	if c.PerPrediction != nil {
		f := limitedTo(figurePerPrediction, *c.PerPrediction)
		f.Reason = fmt.Sprintf("%s did not run", q.Monitor.Deployment)
		for _, served := range s.Served {
			switch {
			case served.Name != q.Monitor.Deployment:
			case served.Each == nil || served.Currency != c.Currency:
				if f.Reason = served.Unknown; f.Reason == "" {
					f.Reason = served.Name + " had no price in " + c.Currency
				}
			default:
				predictions, f.Value, f.Reason = *served.Predictions, inCurrency(*served.Each), ""
			}
		}
		figures = append(figures, f)
	}
	return &window.Answer{Report: measure.Limited(predictions, figures...)}, nil
}

func limitedTo(name string, most money.Amount) measure.Figure {
	return measure.Figure{Name: name, Max: inCurrency(most)}
}

// inCurrency returns an amount in units of its currency.
func inCurrency(a money.Amount) *float64 {
	f := float64(a) / float64(money.One)
	return &f
}
