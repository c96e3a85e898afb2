package executors

import (
	"slices"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// Retention is what a collection keeps besides what is deployed.
type Retention struct {
	Revisions int           // number of newest revisions, at least 1
	Age       time.Duration // and every revision that is younger
	Models    int           // newest versions of each model, at least 2; 0 means all
	// Records is how long measurements of monitors and acts of loops are kept. The newest ones, and
	// those that decisions of loops depend on, are kept longer. 0 keeps all.
	Records time.Duration
	// Since is for what other systems may use as well: it is removed only if nobody used
	// it since then. If this is zero, it is kept.
	Since time.Time
}

// keptRuns is how many runs of a unit remain for estimates and advice.
const keptRuns = 10

// roots are the recorded runs, and what may refer to them.
type roots struct {
	runs     []state.Run     // in the order they began
	oldest   map[string]int  // by environment: the first revision to keep
	current  []state.Current // of all environments, as are the rest
	pending  []state.Pending
	deployed []state.DeployedUnit   // at the end of the kept revisions, or planned to be
	models   [][]state.ModelVersion // by environment and by model, the one in service first
	units    map[string]bool        // whose numbers are kept
	inputs   []string               // digests that current or journalled runs read
}

// oldest returns the number of the first revision to keep, given all of them, newest
// first. Later ones are kept as well, so that names can be followed through their moves.
func (k Retention) oldest(all []state.Revision, pending []state.Pending, now time.Time) int {
	if len(all) == 0 {
		return 0
	}
	last := min(max(k.Revisions, 1), len(all)) - 1
	for i, r := range all {
		young := k.Age > 0 && now.Sub(r.Started) < k.Age
		if young || slices.ContainsFunc(pending, func(p state.Pending) bool { return p.Run.Revision == r.Number }) {
			last = max(last, i)
		}
	}
	// The next apply sweeps what a killed one left, and finds it through the state.
	for last < len(all)-1 && (all[last].Outcome == state.Killed || all[last].Outcome == state.Started) {
		last++
	}
	return all[last].Number
}

// prune returns what to remove from the state if revisions before the oldest to keep are
// removed, and which digests are still referenced then.
func (k Retention) prune(l roots) (state.Pruning, map[string]bool) {
	p := state.Pruning{Before: l.oldest}
	var whole map[int64]bool
	var digests map[string]bool
	whole, digests, p.Models = k.whole(l)
	counted := map[string]int{} // number of runs of a unit that count for usage
	for _, r := range slices.Backward(l.runs) {
		counts := r.Outcome == state.Done || r.Outcome == state.Audited || r.Outcome == state.Pruned
		if counts {
			counted[r.Unit]++
		}
		switch {
		case whole[r.ID]:
		case !counts || counted[r.Unit] > keptRuns || !l.units[r.Unit]:
			p.Runs = append(p.Runs, r.ID)
		case r.Outcome != state.Pruned:
			p.Strip = append(p.Strip, r.ID)
		}
	}
	return p, digests
}

// whole returns the runs to keep unchanged, the digests of what they made or, if current,
// read, and the versions of models to remove.
func (k Retention) whole(l roots) (whole map[int64]bool, digests map[string]bool, gone []state.ModelVersion) {
	whole, digests = map[int64]bool{}, map[string]bool{}
	byKey := map[string]map[string]int64{} // the last run of a key by each unit that ran it
	first := map[string]int64{}            // the first run that made a digest, which dates it
	byID := make(map[int64]*state.Run, len(l.runs))
	for i := range l.runs {
		r := &l.runs[i]
		byID[r.ID] = r
		if r.Outcome != state.Done {
			continue
		}
		if byKey[r.Key] == nil {
			byKey[r.Key] = map[string]int64{}
		}
		byKey[r.Key][r.Unit] = r.ID
		for _, a := range r.Outputs {
			if _, ok := first[a.Digest]; !ok {
				first[a.Digest] = r.ID
			}
		}
	}
	var keep func(id int64)
	need := func(digest string) {
		if !digests[digest] {
			digests[digest] = true
			keep(first[digest])
		}
	}
	keep = func(id int64) {
		r := byID[id]
		if r == nil || whole[id] {
			return
		}
		whole[id] = true
		for _, a := range r.Outputs {
			need(a.Digest)
		}
	}
	key := func(key string) {
		for _, id := range byKey[key] {
			keep(id)
		}
	}
	for i := range l.runs {
		if r := &l.runs[i]; r.Revision >= l.oldest[r.Env] {
			keep(l.runs[i].ID)
		}
	}
	for _, c := range l.current {
		keep(c.Run)
		key(c.Key)
	}
	for _, p := range l.pending {
		keep(p.Run.ID)
	}
	for _, s := range l.deployed {
		keep(s.Run)
		key(s.Key)
	}
	for _, digest := range l.inputs {
		need(digest)
	}
	type number struct {
		model   string
		version int
	}
	highest, wanted := map[string]int{}, map[number]bool{}
	for _, models := range l.models {
		seen := map[string]int{}
		for _, m := range models {
			highest[m.Model] = max(highest[m.Model], m.Version)
			seen[m.Model]++
			// A plan compares with the version in service, or the one before it.
			if k.Models == 0 || seen[m.Model] <= max(k.Models, 2) {
				wanted[number{m.Model, m.Version}] = true
			}
		}
	}
	dropped := map[number]bool{}
	for _, m := range slices.Concat(l.models...) {
		n := number{m.Model, m.Version}
		// The highest number is kept, so that none is used twice.
		switch {
		case wanted[n] || m.Version == highest[m.Model] || digests[m.Digest]:
			need(m.Digest)
		case !dropped[n]:
			dropped[n] = true
			gone = append(gone, m)
		}
	}
	return whole, digests, gone
}
