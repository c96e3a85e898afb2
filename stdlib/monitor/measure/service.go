package measure

import "fmt"

// Names of the figures of [Service].
const (
	FigureBad        = "bad"         // share of the requests that were bad for an objective, from 0 to 1
	FigureBurn       = "burn_rate"   // that share, divided by the error budget
	FigureBudgetLeft = "budget_left" // share of the error budget of the period that is not used up; negative if more was
	FigureErrors     = "errors"      // share of the requests that failed with a status of 5xx
	FigureSaturation = "saturation"  // share of the requests that were refused with 429
	FigureP50        = "p50_ms"      // median of the time of a request, in milliseconds
	FigureP99        = "p99_ms"      // 99th percentile of it
)

// significant is the probability that a step of a release ever alerts although the service just keeps its
// objective.
const significant = 0.01

// A ServiceSpec says how requests are compared with objectives.
type ServiceSpec struct {
	Objectives []Goal `json:"objectives"`
	// MinRows is the least number of requests. With fewer, nothing is ok.
	MinRows int64 `json:"min_rows"`
	// Step says that the requests are those of one version in a step of a release.
	Step bool `json:"step,omitempty"`
}

// A Goal is the share of requests that has to be good, from 0 to 1. Its error budget is the rest.
type Goal struct {
	Name   string  `json:"name"`
	Target float64 `json:"target"`
}

// Answered are the requests of a period, and how many of them were bad for each objective.
type Answered struct {
	Requests int64   `json:"requests"`
	Bad      []int64 `json:"bad"`
}

// burn is the share of bad requests for an objective, divided by its budget; nil if there are no requests.
func (a Answered) burn(i int, g Goal) *float64 {
	if a.Requests == 0 {
		return nil
	}
	rate := float64(a.Bad[i]) / float64(a.Requests) / (1 - g.Target)
	return &rate
}

// A Burning is a pair of windows, and the burn rate that neither may exceed.
type Burning struct {
	Long, Short         Answered
	LongName, ShortName string // "1h"
	Max                 float64
}

// Service compares requests with objectives. seen are those of the version that answers now, period
// are all of the period of the objectives, and burning are pairs of windows of seen.
//
// Outside a release, an objective alerts if its budget burns faster than allowed over both windows of a
// pair: the multi-window, multi-burn-rate alerts of the Site Reliability Workbook, chapter 5. In a step
// of a release, one alerts if seen has more bad requests than the budget has, and so many that a service
// which just keeps the objective would ever have them with a probability below 1 %, however often one
// looks, see [ratioP]. With as many only by chance, it warns.
func Service(s ServiceSpec, seen, period Answered, burning []Burning) *Report {
	r := &Report{Rows: seen.Requests}
	for i, g := range s.Objectives {
		budget := 1 - g.Target
		if seen.Requests > 0 {
			share := float64(seen.Bad[i]) / float64(seen.Requests)
			r.judged(Figure{Column: g.Name, Name: FigureBad, Value: &share})
		}
		if s.Step {
			r.judged(stepFigure(g, i, seen))
		} else {
			for _, b := range burning {
				if b.Max*budget < 1 { // otherwise more than every request would have to be bad
					r.judged(b.figure(g, i))
				}
			}
		}
		if period.Requests > 0 {
			left := 1 - *period.burn(i, g)
			r.judged(Figure{Column: g.Name, Name: FigureBudgetLeft, Value: &left})
		}
	}
	r.Verdict, r.Reason = sum(r.Figures)
	switch {
	case r.Verdict == Alert:
		r.Reason += fmt.Sprintf(", of %d requests", seen.Requests)
	case seen.Requests < s.MinRows:
		r.Verdict, r.Reason = Unknown, fmt.Sprintf("there are %d requests, at least %d are needed", seen.Requests, s.MinRows)
	}
	return r
}

// judged adds a figure with its verdict.
func (r *Report) judged(f Figure) {
	f.judge()
	r.Figures = append(r.Figures, f)
}

func stepFigure(g Goal, i int, seen Answered) Figure {
	once := 1.0
	f := Figure{Column: g.Name, Name: FigureBurn, Value: seen.burn(i, g), Max: &once}
	switch {
	case f.Value == nil:
		f.Reason = "there are no requests"
	case *f.Value > once:
		p := ratioP(seen.Requests-seen.Bad[i], seen.Bad[i], 1-g.Target)
		f.P, f.Verdict = &p, Warn
		if p < significant {
			f.Verdict = Alert
		}
	}
	return f
}

func (b Burning) figure(g Goal, i int) Figure {
	f := Figure{Column: g.Name, Name: FigureBurn + "_" + b.LongName, Value: b.Long.burn(i, g), Max: &b.Max}
	short := b.Short.burn(i, g)
	switch {
	case f.Value == nil:
		f.Reason = "there are no requests"
	case *f.Value > b.Max && (short == nil || *short <= b.Max):
		f.Verdict, f.Reason = OK, "not any more in the last "+b.ShortName
	}
	return f
}
