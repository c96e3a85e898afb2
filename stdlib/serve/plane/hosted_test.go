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

func TestWhereAPlatformAsks(t *testing.T) {
	for _, c := range []struct{ platform, port, fault string }{
		{"", "", ""},
		{step.SageMaker, "4000", ""},
		{step.SageMaker, "many", `$SAGEMAKER_BIND_TO_PORT has to be a port, not "many"`},
		{step.SageMaker, "70000", `$SAGEMAKER_BIND_TO_PORT has to be a port, not "70000"`},
		{"vertex", "", `$TENON_PLATFORM is "vertex", and the only platform with paths of its own is "sagemaker"`},
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
