// Package protect judges who may change a protected environment, and when. The rules are for
// colleagues: whoever can write the state can do anything.
package protect

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rules say who may change an environment, and when. Nil allows everything.
type Rules struct {
	// Who lists the identities that may change it, see [Identity]. Empty means everybody.
	Who []string `json:"who,omitempty"`
	// Approvals is how many others have to approve a plan before it is applied.
	Approvals int      `json:"approvals,omitempty"`
	Freeze    []Window `json:"freeze,omitempty"`
}

// An Approval is the consent of somebody to a plan.
type Approval struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// A Record says who changed a protected environment, who approved that, and which rules the
// environment has since.
type Record struct {
	By        string     `json:"by"`
	Approvals []Approval `json:"approvals,omitempty"`
	Rules     *Rules     `json:"rules,omitempty"`
}

// Forbids returns why somebody may not change the environment now, apart from missing
// approvals, or nothing.
func (r *Rules) Forbids(by string, now time.Time) (reasons []string) {
	if r == nil {
		return nil
	}
	if len(r.Who) > 0 && !slices.Contains(r.Who, by) {
		reasons = append(reasons, fmt.Sprintf("you are %s, but only %s may change it", by, strings.Join(r.Who, ", ")))
	}
	for _, w := range r.Freeze {
		until, err := w.frozen(now)
		switch {
		case err != nil:
			reasons = append(reasons, err.Error())
		case until != "":
			text := "it is frozen until " + until
			if w.Reason != "" {
				text += ": " + w.Reason
			}
			reasons = append(reasons, text)
		}
	}
	return reasons
}

// Unfrozen returns the rules without the times of a freeze.
func (r *Rules) Unfrozen() *Rules {
	if r == nil {
		return nil
	}
	return &Rules{Who: r.Who, Approvals: r.Approvals}
}

func (r *Rules) String() string {
	if r == nil {
		return "none"
	}
	var parts []string
	if len(r.Who) > 0 {
		parts = append(parts, "only "+strings.Join(r.Who, ", ")+" may change it")
	}
	switch r.Approvals {
	case 0:
	case 1:
		parts = append(parts, "1 approval")
	default:
		parts = append(parts, fmt.Sprintf("%d approvals", r.Approvals))
	}
	for _, w := range r.Freeze {
		parts = append(parts, "frozen "+w.String())
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, "; ")
}

// Needed returns the number of approvals that all of the rules ask for.
func Needed(all ...*Rules) (n int) {
	for _, r := range all {
		if r != nil {
			n = max(n, r.Approvals)
		}
	}
	return n
}

// Others returns the approvals that are not by the one who applies, one of each identity.
func Others(all []Approval, by string) (others []Approval) {
	for _, a := range all {
		if a.By != by && !slices.ContainsFunc(others, func(o Approval) bool { return o.By == a.By }) {
			others = append(others, a)
		}
	}
	return others
}
