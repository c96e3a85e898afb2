package plane

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/traces"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Exported is the file of a model folder that the plane asks. A model that Go cannot
// evaluate has none.
const Exported = "plane.json"

// Run does the work of a step until SIGTERM or until ctx ends. A step with a report compares
// what a service computes with training, one with published tables writes them into their
// stores, and any other one is the service. python is the interpreter of the environment of the
// model, and the script of workers, which predict with a model that Go cannot evaluate.
func Run(ctx context.Context, s *step.Step, python []string) error {
	var given params
	if len(s.Params) > 0 {
		if err := json.Unmarshal(s.Params, &given); err != nil {
			return fmt.Errorf("read the parameters: %w", err)
		}
	}
	if _, ok := s.Outputs[features.Published]; ok && given.Request != nil {
		return features.Publish(ctx, s, *given.Request)
	}
	if _, ok := s.Outputs["report"]; ok {
		m, err := readModel(s, python...)
		if err != nil {
			return fmt.Errorf("read the exported model: %w", err)
		}
		return compareWithTraining(ctx, s, given, m, python)
	}
	return serve(ctx, s, given, python)
}

// readModel reads the exported model and checks it, or returns nil if there is none.
func readModel(s *step.Step, python ...string) (*model.Model, error) {
	b, err := os.ReadFile(filepath.Join(s.Inputs["model"].Path, Exported))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var doc struct {
		model.Document
		Check *check `json:"check"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	m, err := model.New(doc.Document)
	if err != nil {
		return nil, err
	}
	if err := m.Open(s.Inputs["model"].Path, interpreter(python)); err != nil {
		return nil, err
	}
	if err := doc.Check.run(m); err != nil {
		return nil, fmt.Errorf("it does not predict here what it predicted in training: %w", err)
	}
	return m, nil
}

// interpreter is the one of the environment of the model, or "".
func interpreter(python []string) string {
	if len(python) == 0 {
		return ""
	}
	return python[0]
}

// params are those of the step. All are optional.
type params struct {
	Model          string    `json:"model"`
	System         string    `json:"system"`
	Env            string    `json:"env"`
	Deployment     string    `json:"deployment"`
	LatencyBuckets []float64 `json:"latency_buckets"`
	MaxInstances   int       `json:"max_instances"`
	MaxBytes       int64     `json:"max_bytes"`
	DrainSeconds   *float64  `json:"drain_seconds"`
	MaxWaiting     int       `json:"max_waiting"`     // requests that wait to be computed
	MaxConnections int       `json:"max_connections"` // at a time
	Explain        bool      `json:"explain"`
	// Traces says where traces go. Without it, there are none.
	Traces *traces.Config `json:"traces"`
	// Python says how a model in Python is asked.
	Python pythonParams `json:"python"`
	// Request says how features are computed. Without it, a request has the columns of the model.
	Request *features.Spec `json:"request"`
	Log     *logParams     `json:"log"`
	// Parity is the fraction of requests that are checked while the service runs, with Queries.
	Parity  float64        `json:"parity"`
	Queries []checkedQuery `json:"queries"`
	Private []string       `json:"private"` // columns that no log shows
	edge.Declared
	// Events says that clients may send events of the history of the features.
	Events struct {
		Max int `json:"max"`
	} `json:"events"`
}

// What a service does that says nothing about it.
const (
	defaultInstances   = 1000
	defaultBytes       = 8 << 20
	defaultDrain       = 0.5
	defaultWaiting     = 256
	defaultConnections = 4096
)

func serve(ctx context.Context, s *step.Step, given params, python []string) error {
	paths, err := hosted(s)
	if err != nil {
		return err
	}
	l := newLoader(s, python)
	l.platform, l.counted = paths, printed(os.Stdout)
	if s.Route != "" {
		return l.serveVersions(ctx, given)
	}
	serving, stop := serving(ctx)
	defer stop()
	m, err := l.model(s) // before the port is bound
	if err != nil {
		return err
	}
	sock, err := l.bind(ctx, given)
	if err != nil {
		return err
	}
	defer l.edge.Close()
	if e := s.Endpoint; e.Scale != nil && e.Replicas == 0 {
		sock.rest = e.Scale.Idle
	}
	x, err := l.load(ctx, s, given, m)
	if err != nil {
		return err
	}
	defer x.stop()
	go l.follow.run(serving)
	if x.workers != nil {
		var unwatch context.CancelFunc
		serving, unwatch = x.workers.watch(serving)
		defer unwatch()
	}
	if x.functions != nil {
		var unwatch context.CancelFunc
		serving, unwatch = x.functions.watch(serving)
		defer unwatch()
	}
	if l.counted != nil {
		l.counted.Started()
	}
	what := fmt.Sprintf("%s version %d", x.About.Name, x.About.Version)
	return errors.Join(sock.answer(serving, given, x.front(), what), x.workers.fault(), x.functions.fault())
}

// answer serves until ctx ends.
func (s *socket) answer(ctx context.Context, given params, f front, what string) error {
	l, err := s.listen(cmp.Or(given.MaxConnections, defaultConnections))
	if err != nil {
		return err
	}
	logLine(fmt.Sprintf("serving %s on %s%s", what, f.scheme(false), s))
	drain := defaultDrain
	if given.DrainSeconds != nil {
		drain = *given.DrainSeconds
	}
	if err := f.serve(ctx, l, time.Duration(drain*float64(time.Second))); err != nil {
		return err
	}
	logLine("drained")
	return nil
}

// compute makes the plane compute the features of a request.
func (c *Config) compute(ctx context.Context, s *step.Step, given params) (stop func(), err error) {
	f, err := features.Load(ctx, s, *given.Request, c.Model.Columns())
	if err != nil {
		return nil, err
	}
	f.UseFunctions(c.functions.For())
	c.Features = f
	go f.Use(ctx, logLine)
	return c.remember(ctx, s, f, given.Events.Max)
}

// described are the attributes of the service for traces.
func (c *Config) described(given params) []string {
	return []string{"service.name", c.Labels["deployment"], "service.namespace", given.System, "service.instance.id", c.Instance,
		"service.version", fmt.Sprint(c.About.Version), "tenon.model", c.About.Name, "tenon.model.digest", c.About.Digest}
}

func logLine(line string) { fmt.Fprintln(os.Stderr, line) }

// config is what a step asks for.
func config(s *step.Step, given params) (Config, error) {
	in := s.Inputs["model"]
	c := Config{
		Instance: s.Instance, Ready: s.Endpoint.Ready, Log: logLine,
		MaxRows: cmp.Or(given.MaxInstances, defaultInstances), MaxBytes: cmp.Or(given.MaxBytes, int64(defaultBytes)),
		Waiting: cmp.Or(given.MaxWaiting, defaultWaiting), Buckets: given.LatencyBuckets,
	}
	name := given.Model
	if parts := strings.Split(s.Unit, "/"); name == "" && len(parts) > 1 {
		name = parts[1]
	}
	c.About = About{cmp.Or(name, "model"), in.Version, in.Digest}
	c.Labels = map[string]string{"deployment": cmp.Or(given.Deployment, s.Unit[strings.LastIndexByte(s.Unit, '/')+1:])}
	if given.System != "" {
		c.Labels["system"] = given.System
	}
	if given.Env != "" {
		c.Labels["env"] = given.Env
	}
	if in.Created != "" {
		at, err := time.Parse(time.RFC3339, in.Created)
		if err != nil {
			return c, fmt.Errorf("when the model was made: %w", err)
		}
		c.Created = at
	}
	for _, out := range s.Outputs {
		if out.Kind == ir.EndpointOf {
			c.Request, c.Response = out.Request, out.Response
		}
	}
	var signature ir.Signature
	if err := readJSON(filepath.Join(in.Path, "signature.json"), &signature); err != nil {
		return c, err
	}
	c.Task, c.Label = signature.Task, signature.Output
	var info struct {
		Quantiles []float64 `json:"quantiles"`
	}
	if err := readJSON(filepath.Join(in.Path, "model.json"), &info); err != nil {
		return c, err
	}
	c.Quantiles = info.Quantiles
	if report, ok := s.Inputs["report"]; ok {
		var found struct {
			Metrics map[string]float64 `json:"metrics"`
		}
		if err := readJSON(filepath.Join(report.Path, "report.json"), &found); err != nil {
			return c, err
		}
		c.Report = found.Metrics
		if c.Report == nil {
			c.Report = map[string]float64{}
		}
	}
	return c, nil
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
