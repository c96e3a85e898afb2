package plane

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// SageMaker asks for paths of its own, which are those of the plane under other names.
func TestPathsOfSageMaker(t *testing.T) {
	t.Setenv(step.Platform, step.SageMaker)
	s := &step.Step{Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 9000, Ready: "/ready"}}
	declared := s.Endpoint
	paths, err := hosted(s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Endpoint.Host != "0.0.0.0" || s.Endpoint.Port != 8080 || declared.Port != 9000 {
		t.Errorf("it listens on %+v, and %+v is declared", s.Endpoint, declared)
	}
	p, _ := planeOf(t, func(c *Config) { c.Features, c.Ready = computed(oneColumn, nil), "/ready" })
	p.platform = paths
	answered(t, ask(p, "GET", "/ping", ""), 200, "")
	answered(t, ask(p, "POST", "/invocations", oneRow), 200, ask(p, "POST", "/predict", oneRow).Body.String())
	answered(t, ask(p, "GET", "/invocations", ""), 405, "")
	answered(t, ask(p, "GET", "/ready", ""), 200, "")
	p.Drain()
	answered(t, ask(p, "GET", "/ping", ""), 503, "")
}

// Vertex AI asks for paths that it names. Its requests are those of the plane.
func TestPathsOfVertexAI(t *testing.T) {
	for k, v := range map[string]string{step.Platform: step.Vertex, vertexPort: "8085", vertexHealth: "/health", vertexPredict: "/v1/answer"} {
		t.Setenv(k, v)
	}
	s := &step.Step{Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 9000, Ready: "/ready"}}
	paths, err := hosted(s)
	if err != nil || s.Endpoint.Host != "0.0.0.0" || s.Endpoint.Port != 8085 {
		t.Fatalf("it listens on %+v, %v", s.Endpoint, err)
	}
	p, _ := planeOf(t, func(c *Config) { c.Features, c.Ready = computed(oneColumn, nil), "/ready" })
	p.platform = paths
	answered(t, ask(p, "GET", "/health", ""), 200, "")
	answered(t, ask(p, "POST", "/v1/answer", oneRow), 200, ask(p, "POST", "/predict", oneRow).Body.String())
	answered(t, ask(p, "POST", "/v1/answer", `{"instances": [{"n": 1}], "parameters": {"top": 3}}`), 422, "")
	p.Drain()
	answered(t, ask(p, "GET", "/health", ""), 503, "")
	for _, c := range []struct{ variable, value, fault string }{
		{vertexPort, "0", `$AIP_HTTP_PORT has to be a port, not "0"`},
		{vertexHealth, "", `$AIP_HEALTH_ROUTE has to be a path that begins with a slash, not ""`},
		{vertexPredict, "answer", `$AIP_PREDICT_ROUTE has to be a path that begins with a slash, not "answer"`},
		{vertexPredict, "/health", `$AIP_HEALTH_ROUTE and $AIP_PREDICT_ROUTE are both "/health": choose two paths`},
	} {
		t.Run(c.variable, func(t *testing.T) {
			t.Setenv(c.variable, c.value)
			if _, err := hosted(&step.Step{Endpoint: &ir.Endpoint{Ready: "/ready"}}); err == nil || err.Error() != c.fault {
				t.Errorf("got %v, want %s", err, c.fault)
			}
		})
	}
}

func TestWhereAPlatformAsks(t *testing.T) {
	for _, c := range []struct{ platform, port, fault string }{
		{"", "", ""},
		{step.SageMaker, "4000", ""},
		{step.SageMaker, "many", `$SAGEMAKER_BIND_TO_PORT has to be a port, not "many"`},
		{step.SageMaker, "70000", `$SAGEMAKER_BIND_TO_PORT has to be a port, not "70000"`},
		{"vortex", "", `$TENON_PLATFORM is "vortex", and the platforms with paths of their own are "sagemaker" and "vertex"`},
	} {
		t.Setenv(step.Platform, c.platform)
		t.Setenv(sageMakerPort, c.port)
		s := &step.Step{Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 9000}}
		paths, err := hosted(s)
		if err == nil && c.fault != "" || err != nil && err.Error() != c.fault {
			t.Errorf("%+v: %v", c, err)
		}
		if c.platform == "" && (paths != nil || s.Endpoint.Port != 9000) || c.port == "4000" && s.Endpoint.Port != 4000 {
			t.Errorf("%+v: it listens on %+v, with %v", c, s.Endpoint, paths)
		}
	}
}

// A service prints what it answers at the paths of its platform, where a release counts it.
func TestWhatAServicePrints(t *testing.T) {
	if printed(nil) != nil {
		t.Error("it prints counts that nobody reads")
	}
	t.Setenv(release.CountedAs, "late")
	t.Setenv(step.Platform, step.SageMaker)
	paths, err := hosted(&step.Step{Endpoint: &ir.Endpoint{Ready: "/readyz"}})
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]step.Observation{oneRow: {Requests: 1}, "{": {Requests: 1, Refused: 1}} {
		var out bytes.Buffer
		p, _ := planeOf(t, func(c *Config) { c.Features = computed(oneColumn, nil) })
		p.platform, p.counted = paths, printed(&out)
		ask(p, "GET", "/ping", "")
		ask(p, "POST", "/invocations", request)
		n, is := release.ReadCount(strings.TrimSuffix(out.String(), "\n"))
		if !is || n.Of != "late" || n.Requests != want.Requests || n.Refused != want.Refused {
			t.Errorf("%s: it printed %q", request, out.String())
		}
	}
}
