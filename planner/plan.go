package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/planner/state"
)

// Version is the version of a plan file.
const Version = 1

// A Plan is what an apply will do. It is self-contained: it carries the system and the
// code, so that a saved plan is applied exactly.
type Plan struct {
	Version int               `json:"plan"`
	Created time.Time         `json:"created"`
	Dir     string            `json:"dir"` // the system's folder, absolute
	System  *ir.System        `json:"system"`
	Blobs   map[string][]byte `json:"blobs"`            // code and locks, by digest
	Files   map[string]string `json:"files"`            // digests of the data files, by path as in [Files]
	Images  map[string]string `json:"images,omitempty"` // references by digest, by the references that targets and units name
	// Python maps the versions of Python that units name to the exact ones of the
	// interpreters that run them. One that is not known is missing. Nil means that no key
	// depends on them.
	Python  map[string]string `json:"python,omitzero"`
	State   state.Meta        `json:"state"`             // the state it was made against
	BackTo  int               `json:"back_to,omitempty"` // the revision that it restores
	From    *Origin           `json:"from,omitempty"`    // what it promotes, or nil
	Cause   *Cause            `json:"cause,omitempty"`   // why a controller made it, or nil
	Moves   []ir.Move         `json:"moves,omitempty"`   // renamed units, before all else
	Items   []Item            `json:"items"`             // in the order of execution; deletes last
	Prepare []Preparation     `json:"prepare,omitempty"` // what was missing when the plan was made
	Taken   []Taken           `json:"taken,omitempty"`   // what was in the way when the plan was made
	// Protect are the rules of the environment when the plan was made, or nil.
	Protect *protect.Rules `json:"protect,omitempty"`
	// Saved is the digest of the file that the plan was read from, or "".
	Saved string `json:"-"`
	// Warnings are those of the compiler, and of the history of units.
	Warnings []ir.Warning `json:"warnings,omitempty"`
	// Pricing is set if a pool has a price.
	Pricing *Pricing `json:"pricing,omitempty"`
	// PerHour lists the services that the plan starts on machines of their own, with their price if it is known.
	PerHour []PerHour `json:"per_hour,omitempty"`
	// PerRequest lists the services that are billed by requests alone.
	PerRequest []PerRequest `json:"per_request,omitempty"`
	// Transfer is set if jobs run in a cloud.
	Transfer *Transfer `json:"transfer,omitempty"`
	// Choice is set if the target is one of several.
	Choice *Choice `json:"choice,omitempty"`
	// Quotas are set if limits of an account were asked, or could not be.
	Quotas *Quotas `json:"quotas,omitempty"`
	// Infrastructure is set if the target has one.
	Infrastructure *Infrastructure `json:"infrastructure,omitempty"`
}

// A Taken is an address at which a service is to listen, and which something else has. It
// is informational: an apply checks again.
type Taken struct {
	Unit     string `json:"unit"`
	Address  string `json:"address"`            // "port 8080 of 127.0.0.1"
	By       string `json:"by"`                 // "deployments/api of /srv/churn"
	Optional bool   `json:"optional,omitempty"` // perhaps the unit is not started
}

func (t Taken) String() string {
	return fmt.Sprintf("%s: %s is in use by %s: stop it, or choose another port", t.Unit, t.Address, t.By)
}

// Unit returns the unit that an item is about: the pinned or the declared one, or nil if the unit
// is removed.
func (p *Plan) Unit(i *Item) *ir.Unit {
	if i.Pinned != nil {
		return &i.Pinned.Unit
	}
	return p.System.Unit(i.Unit)
}

// Image returns the image in which a unit runs, by digest, or "" if its target runs none.
func (p *Plan) Image(u *ir.Unit) string {
	if u.Code.Image != "" {
		return p.Images[u.Code.Image]
	}
	return p.Images[p.System.Target.Base()]
}

// errData means that data files have changed since the plan was made.
var errData = errors.New("the data has changed since the plan was made")

// CheckData returns an error with the files, unless the data files are those that the
// plan was made from. A rollback reads none.
func (p *Plan) CheckData(ctx context.Context, d Digests) error {
	if p.BackTo > 0 {
		return nil
	}
	_, paths, err := dataFiles(p.Dir, p.System)
	if err != nil {
		return fmt.Errorf("%w: %w: plan again", errData, err)
	}
	now, err := d.Digest(ctx, p.Dir, paths)
	if err != nil {
		return err
	}
	var changes []string
	for path, digest := range now {
		if was, ok := p.Files[path]; !ok {
			changes = append(changes, path+" is new")
		} else if was != digest {
			changes = append(changes, path+" differs")
		}
	}
	for path := range p.Files {
		if _, ok := now[path]; !ok {
			changes = append(changes, path+" is gone")
		}
	}
	if len(changes) == 0 {
		return nil
	}
	slices.Sort(changes)
	const most = 3
	if n := len(changes) - most; n > 0 {
		changes = append(changes[:most], fmt.Sprintf("and %d more", n))
	}
	return fmt.Errorf("%w: %s: plan again", errData, strings.Join(changes, ", "))
}

// Action is what happens to a unit. It decides; a [Reason] only explains it.
type Action string

const (
	Run     Action = "run"     // a job is run
	Reuse   Action = "reuse"   // the recorded result of a job is kept
	Create  Action = "create"  // a service or record is added
	Update  Action = "update"  // a service or record changes
	Replace Action = "replace" // a service that died, or cannot be changed, is made again
	Delete  Action = "delete"  // a unit that is no longer declared is removed
	None    Action = "none"    // a service or record stays unchanged
	Release Action = "release" // the versions of a service get other weights, or rules for them; see [state.Route]
)

// Changes reports whether the plan changes what is deployed. Moving a unit is a change,
// and so is restoring the result of an earlier run, and a change of the infrastructure.
func (p *Plan) Changes() bool {
	return len(p.Moves) > 0 || p.Infrastructure.Changes() || slices.ContainsFunc(p.Items, func(i Item) bool { return i.Action.Changes() || i.Restores() })
}

// Restores reports whether the result of an earlier run replaces the current one.
func (i Item) Restores() bool { return i.Action == Reuse && len(i.Reasons) > 0 }

// Changes reports whether the action does anything.
func (a Action) Changes() bool { return a != Reuse && a != None }

// An Origin is the revision of another environment that a plan promotes.
type Origin struct {
	Env      string `json:"env"`
	Revision int    `json:"revision"`
}

// A Cause says why a controller made a plan.
type Cause struct {
	Act    string `json:"act"`              // "repair", "refresh", "retrain" or "rollback"
	Loop   string `json:"loop,omitempty"`   // the unit of the loop that decided it
	Number int64  `json:"number,omitempty"` // of the act in the record of that loop
	Reason string `json:"reason"`           // with figures
}

func (c *Cause) String() string { return c.Act + ": " + c.Reason }

// An Item is the plan for one unit.
type Item struct {
	Unit   string  `json:"unit"`
	Kind   ir.Kind `json:"kind"`
	Action Action  `json:"action"`
	// Unless is set when the action is only needed if an input changes: "run unless its
	// inputs come out the same".
	Unless  bool     `json:"unless,omitempty"`
	Reasons []Reason `json:"reasons,omitempty"`
	// Fresh is set if a requested run must not resume from checkpoints of earlier ones.
	Fresh bool `json:"fresh,omitempty"`
	// Key is the run key, if all inputs are already known.
	Key string `json:"key,omitempty"`
	// Run is the run whose result is reused.
	Run      int64    `json:"run,omitempty"`
	Estimate Estimate `json:"estimate,omitzero"`
	// Rate is what the unit costs per hour, for which the name of the currency is in the
	// plan's pricing.
	Rate money.Amount `json:"rate,omitempty"`
	// Unstable is set if an audit ran the unit again and got another result.
	Unstable bool `json:"unstable,omitempty"`
	// Advice is set where the unit requests far more, or hardly more, than it used.
	Advice []Advice `json:"advice,omitempty"`
	// Audit asks to run a reused unit again and compare the results.
	Audit bool `json:"audit,omitempty"`
	// Route is what the versions of a service get in a revision of a release. Elsewhere it has no
	// versions, and only the one that was rejected.
	Route *state.Route `json:"route,omitempty"`
	// Pinned is deployed instead of the declared unit: the champion of a release, after another
	// version was rejected.
	Pinned *state.Pinned `json:"pinned,omitempty"`
	// Rejected says why the declared version of a service is not deployed.
	Rejected string `json:"rejected,omitempty"`
	// Releasing says which versions of a service answer, if the declared one is being released and
	// the plan leaves that as it is.
	Releasing string `json:"releasing,omitempty"`
}

// A Reason says why, with the values before and after.
type Reason struct {
	What   string `json:"what"`             // a field as the user wrote it, "test.fraction"; or "input flights", "code fetch.py", "new"
	Before string `json:"before,omitempty"` //
	After  string `json:"after,omitempty"`
	At     string `json:"at,omitempty"` // where the field is written: "late.cue:12:3"
}

// An Estimate is derived from earlier runs of the unit. Runs is how many; 0 means that
// nothing is known.
type Estimate struct {
	Runs int           `json:"runs"`
	Time time.Duration `json:"time_ns"`
	// From is the similar unit that the runs are of, if the unit itself has none. Rows and
	// FromRows are the rows that both read, by which the time was scaled, or 0 if it was not.
	From     string `json:"from,omitempty"`
	Of       string `json:"of,omitempty"` // the system that From is of, if it is another one, see [Recorded]
	Rows     int64  `json:"rows,omitempty"`
	FromRows int64  `json:"from_rows,omitempty"`
}

// Own reports whether the unit itself has run before.
func (e Estimate) Own() bool { return e.Runs > 0 && e.From == "" }

// Advice compares what a unit requests with what its last runs used.
type Advice struct {
	Need  string `json:"need"`  // "memory" or "cpu"
	Asked int64  `json:"asked"` // bytes, or thousandths of a core
	Used  int64  `json:"used"`  // maximum
	Runs  int    `json:"runs"`
	Would int64  `json:"would"` // sufficient amount
}

// A Summary counts a plan's actions.
type Summary struct {
	Run     int      `json:"run"`
	Unless  int      `json:"unless"` // how many of Run may turn out to be reused
	Reuse   int      `json:"reuse"`
	Create  int      `json:"create"`
	Update  int      `json:"update"`
	Release int      `json:"release,omitempty"`
	Replace int      `json:"replace"`
	Delete  int      `json:"delete"`
	None    int      `json:"none"`
	Time    Estimate `json:"time"` // along the critical path
	// Similar is how many jobs are estimated from others.
	Similar int `json:"similar,omitempty"`
	// Limit is how long the jobs take along the critical path if those that nothing is known of
	// take as long as their timeouts and retries allow. It is 0 if there are none, or if one has no timeout.
	Limit time.Duration `json:"limit_ns,omitempty"`
}
