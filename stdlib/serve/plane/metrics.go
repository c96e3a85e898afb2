package plane

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// metrics are what Prometheus sees. Names, labels and the text are those of the Python
// service, which writes them by prometheus_client.
type metrics struct {
	labels    map[string]string // of all
	paths     map[string]int
	names     []string // of the paths
	requests  [][600]atomic.Pointer[counter]
	durations []atomic.Pointer[histogram]
	buckets   []float64
	mu        sync.Mutex // for a new counter or histogram

	predictions counter
	classes     []counter
	classNames  []string
	values      *histogram // probabilities, or predicted numbers

	info    [][2]string
	created time.Time
	report  map[string]float64
	more    func(*metricText)
	tables  []*tableMetrics // in stores
	workers *workers        // nil if there are none
	python  *functions      // nil if there are none
}

// A counter has the time of its creation, from which Prometheus knows that it is a new one.
type counter struct {
	n     atomic.Uint64
	since float64
}

type histogram struct {
	bounds []float64
	counts []atomic.Uint64 // of values up to each bound; the last one of those above all
	sum    atomic.Uint64   // bits of a float64
	since  float64
}

func now() float64 { return float64(time.Now().UnixNano()) / 1e9 }

func newHistogram(bounds []float64) *histogram {
	if n := len(bounds); n > 0 && math.IsInf(bounds[n-1], 1) {
		bounds = bounds[:n-1]
	}
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1), since: now()}
}

func (h *histogram) observe(v float64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

var (
	defaultBuckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}
	tenths         = []float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1}
	// ofNumbers are those of prometheus_client, for a model that does not know its quantiles.
	ofNumbers = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
)

func newMetrics(p *Plane) *metrics {
	m := &metrics{labels: p.Labels, paths: map[string]int{}, buckets: p.Buckets, created: p.Created, report: p.Report, more: p.more, workers: p.workers, python: p.functions}
	if len(m.buckets) == 0 {
		m.buckets = defaultBuckets
	}
	// Any other path is one label: strangers shall not make time series.
	m.names = append([]string{"other"}, p.paths...)
	for i, name := range m.names {
		m.paths[name] = i
	}
	m.requests = make([][600]atomic.Pointer[counter], len(m.names))
	m.durations = make([]atomic.Pointer[histogram], len(m.names))
	m.predictions.since = now()
	if len(p.Model.Classes()) > 0 {
		m.values = newHistogram(tenths)
		m.classes = make([]counter, len(p.Model.Classes()))
		for i := range m.classes {
			m.classes[i].since = now()
			m.classNames = append(m.classNames, p.className(i))
		}
	} else {
		bounds := slices.Clone(p.Quantiles)
		slices.Sort(bounds)
		if bounds = slices.Compact(bounds); len(bounds) == 0 {
			bounds = ofNumbers
		}
		m.values = newHistogram(bounds)
	}
	m.observeTables(p.Features)
	m.info = [][2]string{{"name", p.About.Name}, {"version", strconv.Itoa(p.About.Version)}, {"digest", p.About.Digest}}
	return m
}

// path is the index of the path of a request.
func (m *metrics) path(path string) int { return m.paths[path] }

func (m *metrics) observe(path, status int, took time.Duration) {
	if status < 0 || status >= len(m.requests[path]) {
		status = 500
	}
	c := m.requests[path][status].Load()
	if c == nil {
		m.mu.Lock()
		if c = m.requests[path][status].Load(); c == nil {
			c = &counter{since: now()}
			m.requests[path][status].Store(c)
		}
		m.mu.Unlock()
	}
	c.n.Add(1)
	h := m.durations[path].Load()
	if h == nil {
		m.mu.Lock()
		if h = m.durations[path].Load(); h == nil {
			h = newHistogram(m.buckets)
			m.durations[path].Store(h)
		}
		m.mu.Unlock()
	}
	h.observe(took.Seconds())
}

// predicted counts rows: their classes, if there are any, and their probabilities or numbers.
func (m *metrics) predicted(classes []int, numbers []float64) {
	m.predictions.n.Add(uint64(len(numbers)))
	for _, class := range classes {
		m.classes[class].n.Add(1)
	}
	for _, v := range numbers {
		if !math.IsNaN(v) { // a probability of a model that has none
			m.values.observe(v)
		}
	}
}

// A sample is a line of the text.
type sample struct {
	suffix string
	labels [][2]string
	value  float64
}

// write adds all metrics but those of the process.
func (m *metrics) write(w *metricText) {
	var total, created, durations, since []sample
	for path, name := range m.names {
		for status := range m.requests[path] {
			if c := m.requests[path][status].Load(); c != nil {
				labels := [][2]string{{"path", name}, {"code", strconv.Itoa(status)}}
				total = append(total, sample{"_total", labels, float64(c.n.Load())})
				created = append(created, sample{"_created", labels, c.since})
			}
		}
		if h := m.durations[path].Load(); h != nil {
			labels := [][2]string{{"path", name}}
			durations = append(durations, h.samples(labels)...)
			since = append(since, sample{"_created", labels, h.since})
		}
	}
	w.counter("tenon_http_requests", "Requests answered", total, created)
	w.histogram("tenon_http_request_duration_seconds", "Time to answer a request", durations, since)
	w.counter("tenon_predictions", "Predictions made",
		[]sample{{"_total", nil, float64(m.predictions.n.Load())}}, []sample{{"_created", nil, m.predictions.since}})
	total, created = nil, nil
	for i := range m.classes {
		labels := [][2]string{{"class", m.classNames[i]}}
		total = append(total, sample{"_total", labels, float64(m.classes[i].n.Load())})
		created = append(created, sample{"_created", labels, m.classes[i].since})
	}
	name, help := "tenon_prediction_value", "Values predicted"
	if len(m.classes) > 0 {
		name, help = "tenon_prediction_probability", "Probabilities given"
		w.counter("tenon_prediction_class", "Predictions by class", total, created)
	}
	w.histogram(name, help, m.values.samples(nil), []sample{{"_created", nil, m.values.since}})
	w.metric("tenon_model_info", "gauge", "The model that answers", sample{"", m.info, 1})
	if !m.created.IsZero() {
		// Python's clocks have microseconds.
		at := float64(m.created.UnixMicro()) / 1e6
		w.metric("tenon_model_created_timestamp_seconds", "gauge", "When the model was made", sample{"", nil, at})
	}
	if m.report != nil {
		var quality []sample
		for name, v := range m.report {
			quality = append(quality, sample{"", [][2]string{{"metric", name}}, v})
		}
		slices.SortFunc(quality, func(a, b sample) int { return strings.Compare(a.labels[0][1], b.labels[0][1]) })
		w.metric("tenon_model_evaluation", "gauge", "Metrics of the model's report", quality...)
	}
	m.more(w)
	m.tableText(w)
	if m.workers != nil && !slices.Contains(w.pools, m.workers) { // which several versions may share
		w.pools = append(w.pools, m.workers)
		m.workers.metrics(w)
	}
	m.python.metrics(w)
}

func (h *histogram) samples(labels [][2]string) []sample {
	var out []sample
	n := 0.0
	for i := range h.counts {
		le := "+Inf"
		if n += float64(h.counts[i].Load()); i < len(h.bounds) {
			le = float(h.bounds[i])
		}
		out = append(out, sample{"_bucket", append(slices.Clone(labels), [2]string{"le", le}), n})
	}
	out = append(out, sample{"_count", labels, n})
	if len(h.bounds) == 0 || h.bounds[0] >= 0 { // a sum of negative numbers would go down
		out = append(out, sample{"_sum", labels, math.Float64frombits(h.sum.Load())})
	}
	return out
}

// metricText is text for Prometheus. Several versions may add samples to a metric.
type metricText struct {
	all     map[string]string // labels of all samples; those of a sample come first
	metrics []*metricLines
	named   map[string]*metricLines
	pools   []*workers // whose metrics are written
}

// metricLines are the lines of a metric.
type metricLines struct{ b []byte }

func (w *metricText) bytes() []byte {
	var b []byte
	for _, m := range w.metrics {
		b = append(b, m.b...)
	}
	return b
}

func (w *metricText) counter(name, help string, total, created []sample) {
	w.head(name+"_total", "counter", help)
	w.samples(name+"_total", name, total)
	if len(created) > 0 {
		w.head(name+"_created", "gauge", help)
		w.samples(name+"_created", name, created)
	}
}

func (w *metricText) histogram(name, help string, all, created []sample) {
	w.metric(name, "histogram", help, all...)
	if len(created) > 0 {
		w.head(name+"_created", "gauge", help)
		w.samples(name+"_created", name, created)
	}
}

func (w *metricText) metric(name, kind, help string, all ...sample) {
	w.head(name, kind, help)
	w.samples(name, name, all)
}

func (w *metricText) head(name, kind, help string) {
	if w.named[name] != nil {
		return
	}
	m := &metricLines{[]byte("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")}
	if w.named == nil {
		w.named = map[string]*metricLines{}
	}
	w.metrics, w.named[name] = append(w.metrics, m), m
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// samples adds samples to the metric of a head. prefix is that of their names.
func (w *metricText) samples(head, prefix string, all []sample) {
	m := w.named[head]
	for _, s := range all {
		labels := slices.Clone(s.labels)
		for k, v := range w.all {
			if !slices.ContainsFunc(s.labels, func(l [2]string) bool { return l[0] == k }) {
				labels = append(labels, [2]string{k, v})
			}
		}
		slices.SortFunc(labels, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		from := len(m.b)
		m.b = append(append(m.b, prefix...), s.suffix...)
		for i, l := range labels {
			sep := `,`
			if i == 0 {
				sep = `{`
			}
			m.b = append(m.b, sep+l[0]+`="`+labelEscapes.Replace(l[1])+`"`...)
		}
		if len(labels) > 0 {
			m.b = append(m.b, '}')
		}
		m.b = append(append(append(m.b, ' '), float(s.value)...), '\n')
		if bytes.Contains(m.b[:from], m.b[from:]) {
			m.b = m.b[:from] // two versions have the same model
		}
	}
}

// float is a number as prometheus_client shows it: as Python does, but with an exponent from
// a million on.
func float(x float64) string {
	switch {
	case math.IsInf(x, 1):
		return "+Inf"
	case math.IsInf(x, -1):
		return "-Inf"
	case math.IsNaN(x):
		return "NaN"
	case x >= 1e6 && x < 1e16:
		return strconv.FormatFloat(x, 'e', -1, 64)
	}
	return string(request.AppendFloat(nil, x))
}
