package ir

import (
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/money"
)

// A Loop says when a model is trained again, and when a version of it is rolled back.
type Loop struct {
	Model string `json:"model"` // entity: "models/late"
	// Deployments are the entities that serve the model, sorted.
	Deployments []string      `json:"deployments,omitempty"`
	When        []LoopTrigger `json:"when"`
	// CatchUp says what happens to times of schedules that passed while nothing watched the loop.
	CatchUp  CatchUp       `json:"catch_up"`
	CoolDown time.Duration `json:"cool_down_ns,omitempty"` // from one training or rollback to the next training
	AtMost   *LoopLimit    `json:"at_most,omitempty"`
	Judge    []string      `json:"judge,omitempty"`    // units of monitors that judge each step of a release
	Rollback []string      `json:"rollback,omitempty"` // units of monitors whose alert rolls back
	Notify   []Receiver    `json:"notify,omitempty"`
}

// Monitors returns the units of all monitors that the loop reads, sorted.
func (l *Loop) Monitors() []string {
	all := slices.Concat(l.Judge, l.Rollback)
	for _, w := range l.When {
		if w.Monitor != "" {
			all = append(all, w.Monitor)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// OfAnswers reports whether a monitor of the loop measures how a service answers, and not what it predicts:
// objectives do.
func (*Loop) OfAnswers(monitor string) bool { return strings.HasPrefix(monitor, "slos/") }

// Changes returns the entities that a training or a rollback of the loop changes.
func (l *Loop) Changes() []string { return append([]string{l.Model}, l.Deployments...) }

// A LoopTrigger calls for a training. One of Schedule, Monitor and Data is set.
type LoopTrigger struct {
	Schedule string `json:"schedule,omitempty"` // see package cron
	Zone     string `json:"zone,omitempty"`     // of the schedule
	Monitor  string `json:"monitor,omitempty"`  // unit whose alert calls for it
	Data     string `json:"data,omitempty"`     // unit with a table
	Port     string `json:"port,omitempty"`     // its output
	Rows     int64  `json:"rows,omitempty"`     // how many more of them than the last training read
	// Every is how often the data is read again.
	Every time.Duration `json:"every_ns,omitempty"`
}

// CatchUp is what happens to missed times of schedules.
type CatchUp string

const (
	CatchUpOnce CatchUp = "once" // they call for one training
	CatchUpNone CatchUp = "none" // they are passed over
)

// A LoopLimit bounds trainings in any period of a length.
type LoopLimit struct {
	Runs     int           `json:"runs,omitempty"` // that did not fail; 0 is no limit
	Per      time.Duration `json:"per_ns"`
	Cost     *money.Amount `json:"cost,omitempty"` // of all of them
	Currency string        `json:"currency,omitempty"`
}
