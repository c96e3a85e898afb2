package componenttest

import (
	"fmt"
	"time"
)

// A Status is the result of a check.
type Status string

// The results of a check.
const (
	OK      Status = "ok"
	Failed  Status = "failed"
	Skipped Status = "skipped" // the check is impossible here; Detail says why
	None    Status = "none"    // the rule does not apply to the component; Detail says why
)

// A Check is one rule, and whether a component follows it.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// A Result is what the suite found about one component.
type Result struct {
	Component
	Checks []Check       `json:"checks"`
	Took   time.Duration `json:"took_ns"`
}

// OK reports whether no check failed.
func (r *Result) OK() bool {
	for _, c := range r.Checks {
		if c.Status == Failed {
			return false
		}
	}
	return true
}

// The rules, in the order in which they are reported.
const (
	checkSchema   = "schema"       // the example runs, and every output matches its declaration
	checkBytes    = "same bytes"   // the same inputs give the same bytes
	checkNetwork  = "network"      // it uses none, unless it declares it
	checkProgress = "progress"     // reported as the step contract says
	checkSecrets  = "secrets"      // they are in no log and no output
	checkBad      = "bad input"    // refused in one line that says where
	checkEmpty    = "empty tables" // a result or one line
	checkOne      = "one row"      // a result or one line
	checkCancel   = "cancellation" // it ends soon, and nothing of it counts as done
	checkCases    = "other cases"  // everything else that the example's cases expect
)

func (r *Result) add(name string, s Status, format string, args ...any) {
	r.Checks = append(r.Checks, Check{name, s, fmt.Sprintf(format, args...)})
}

// judge adds a check that is ok unless there is an error.
func (r *Result) judge(name string, err error, format string, args ...any) bool {
	if err != nil {
		r.add(name, Failed, "%v", err)
		return false
	}
	r.add(name, OK, format, args...)
	return true
}
