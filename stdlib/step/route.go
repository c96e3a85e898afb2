package step

import (
	"cmp"
	"slices"
	"time"
)

// A Route says which versions of a service answer. It is the content of the file at
// [Step.Route]. The service reads it when it starts, and again whenever it changes.
type Route struct {
	// Serial grows with every change. The service repeats the one that is in effect.
	Serial int64 `json:"serial"`
	// By is the column of a request whose value decides on the version, so that the same value
	// always gets the same one while weights stay. "" is a random choice.
	By       string         `json:"by,omitempty"`
	Versions []RouteVersion `json:"versions"`
}

// A RouteVersion is a version of a service in a route.
type RouteVersion struct {
	Name   string `json:"name"`
	Weight int    `json:"weight"` // percent of requests that it answers; all weights are 100 together
	// Shadow is the fraction of the requests that others answer which it also computes. What it
	// says is compared with the answer, and no client sees it.
	Shadow float64 `json:"shadow,omitempty"`
}

// LatencyBuckets are the upper bounds of [Observation.Latency], in seconds: powers of the
// fourth root of two from 50 µs on. Latencies beyond the last one are counted in one more.
var LatencyBuckets = func() (b [89]float64) {
	const ratio = 1.189207115002721
	b[0] = 50e-6
	for i := range b[1:] {
		b[i+1] = b[i] * ratio
	}
	return b
}()

// Observed is what a service counts since a route is in effect. The service writes it to the
// file at [Step.Observed] once a second and when its route changes.
type Observed struct {
	Serial   int64                  `json:"serial"` // of the route
	Since    time.Time              `json:"since"`
	At       time.Time              `json:"at"`
	Versions map[string]Observation `json:"versions"`
	// Segments are values of columns for which versions were compared, those with most
	// differences first. The list is bounded.
	Segments []Segment `json:"segments,omitempty"`
	// Examples are requests that two versions answered differently, the last few. Private columns are masked.
	Examples []Example `json:"examples,omitempty"`
}

// Limits of lists in [Observed].
const (
	MostSegments = 20
	MostExamples = 10
)

// Add adds what another process of the service observed of the same route: counts are added up,
// and lists are those of both, within their limits. At and the serial stay.
func (o *Observed) Add(other Observed) {
	if o.Since.IsZero() || other.Since.Before(o.Since) {
		o.Since = other.Since
	}
	if o.Versions == nil {
		o.Versions = map[string]Observation{}
	}
	for name, v := range other.Versions {
		sum := o.Versions[name]
		sum.add(v)
		o.Versions[name] = sum
	}
	for _, s := range other.Segments {
		i := slices.IndexFunc(o.Segments, func(x Segment) bool {
			return x.Version == s.Version && x.Column == s.Column && x.Value == s.Value
		})
		if i < 0 {
			o.Segments = append(o.Segments, s)
			continue
		}
		o.Segments[i].Compared += s.Compared
		o.Segments[i].Different += s.Different
	}
	o.Segments = MostDifferent(o.Segments)
	o.Examples = append(slices.Clone(o.Examples), other.Examples...)
	slices.SortStableFunc(o.Examples, func(a, b Example) int { return a.At.Compare(b.At) })
	o.Examples = o.Examples[max(0, len(o.Examples)-MostExamples):]
}

// MostDifferent sorts segments, those with most differences first, and returns as many of them as
// [Observed] has.
func MostDifferent(all []Segment) []Segment {
	slices.SortFunc(all, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(b.Different, a.Different), cmp.Compare(b.Compared, a.Compared),
			cmp.Compare(a.Version, b.Version), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Value, b.Value))
	})
	return all[:min(len(all), MostSegments)]
}

// add adds what the same version did in another process.
func (o *Observation) add(other Observation) {
	o.Requests += other.Requests
	o.Refused += other.Refused
	o.Failed += other.Failed
	o.Shadows += other.Shadows
	o.Compared += other.Compared
	o.Different += other.Different
	o.Latency = slices.Clone(o.Latency)
	for i, n := range other.Latency {
		if i == len(o.Latency) {
			o.Latency = append(o.Latency, 0)
		}
		o.Latency[i] += n
	}
	o.Fault = cmp.Or(o.Fault, other.Fault)
}

// An Observation is what one version did.
type Observation struct {
	Requests int64 `json:"requests"`          // that it answered, or computed as a shadow
	Refused  int64 `json:"refused"`           // of them, with a status of 4xx
	Failed   int64 `json:"failed"`            // of them, with a status of 5xx
	Shadows  int64 `json:"shadows,omitempty"` // of them, those that it computed as a shadow
	// Latency counts requests by their time, see [LatencyBuckets].
	Latency []int64 `json:"latency,omitempty"`
	// Compared are the rows for which it and the version that answered made predictions, and
	// Different those for which they differ.
	Compared  int64 `json:"compared,omitempty"`
	Different int64 `json:"different,omitempty"`
	// Fault says why it cannot answer. Its requests then go to the first version of the route that can.
	Fault string `json:"fault,omitempty"`
}

// A Segment is a value of a column of requests.
type Segment struct {
	Version   string `json:"version"`
	Column    string `json:"column"`
	Value     string `json:"value"`
	Compared  int64  `json:"compared"`
	Different int64  `json:"different"`
}

// An Example is a row that two versions answered differently.
type Example struct {
	At       time.Time      `json:"at"`
	Answered string         `json:"answered"` // the version whose prediction the client got
	Other    string         `json:"other"`
	Row      map[string]any `json:"row"`
	Gave     any            `json:"gave"`       // prediction, and probability if there is one
	Instead  any            `json:"would_give"` // of the other
}
