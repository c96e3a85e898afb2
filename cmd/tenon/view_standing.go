package main

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// standing says what infrastructure costs while nothing runs. What has no rate is unknown, and not free.
func standing(i *planner.Infrastructure) string {
	if i == nil || i.Standing == nil || len(i.Standing.Items) == 0 {
		return ""
	}
	s := i.Standing
	var sum money.Amount
	var known, unknown []string
	for _, item := range s.Items {
		what := item.What
		if item.Count > 0 {
			what = fmt.Sprintf("%d %s", item.Count, item.What)
		}
		if item.Month == nil {
			unknown = append(unknown, what)
			continue
		}
		sum = sum.Plus(*item.Month)
		known = append(known, what+" "+item.Month.Format(s.Currency))
	}
	var b strings.Builder
	if len(known) > 0 {
		fmt.Fprintf(&b, "While nothing runs, it costs %s a month (%s): %s.\n", sum.Format(s.Currency), s.Source, strings.Join(known, ", "))
	}
	if len(unknown) > 0 {
		fmt.Fprintf(&b, "While nothing runs, the cloud also bills what has no rate here: %s.\n", strings.Join(unknown, ", "))
	}
	return b.String()
}
