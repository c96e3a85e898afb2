package plane

import (
	"sync/atomic"
	"time"
)

// eventCounts are the events that clients have sent.
type eventCounts struct {
	added, known, refused atomic.Uint64
	badRequests           atomic.Uint64 // whose events nobody has counted
	since                 float64
}

// add counts the n events of a request, of which some were added, or none because of an error.
func (c *eventCounts) add(added, n int, err error) {
	if err != nil {
		c.refused.Add(uint64(n))
		return
	}
	c.added.Add(uint64(added))
	c.known.Add(uint64(n - added))
}

// malformed counts a request that was not read.
func (c *eventCounts) malformed() { c.badRequests.Add(1) }

// more writes the metrics of what only some services have.
func (p *Plane) more(w *metricText) {
	p.logged(w)
	p.remembered(w)
	p.checked(w)
}

// remembered writes the metrics of the history.
func (p *Plane) remembered(w *metricText) {
	if p.Memory != nil {
		m := p.Memory()
		gauge := func(name, help string, n float64) { w.metric(name, "gauge", help, sample{"", nil, n}) }
		gauge("tenon_history_keys", "Values of PARTITION BY that the history has", float64(m.Keys))
		gauge("tenon_history_events", "Events that the history keeps in memory, of the window with most", float64(m.Events))
		gauge("tenon_history_bytes", "Memory of the history, without texts", float64(m.Bytes))
		if m.Newest != 0 {
			gauge("tenon_history_newest_event_age_seconds", "Time since the latest event of the history", time.Since(time.UnixMicro(m.Newest)).Seconds())
		}
	}
	if c := p.counts; c != nil {
		result := func(name string, n *atomic.Uint64) sample {
			return sample{"_total", [][2]string{{"result", name}}, float64(n.Load())}
		}
		w.counter("tenon_events", "Events that clients have sent, by what became of them", []sample{result("added", &c.added), result("known", &c.known), result("refused", &c.refused)}, []sample{{"_created", nil, c.since}})
		w.counter("tenon_events_bad_requests", "Requests with events that could not be read", []sample{{"_total", nil, float64(c.badRequests.Load())}}, []sample{{"_created", nil, c.since}})
		if log, ok := p.Events.(interface{ LogBytes() int64 }); ok {
			w.metric("tenon_events_log_bytes", "gauge", "Size of the log of events", sample{"", nil, float64(log.LogBytes())})
		}
	}
}
