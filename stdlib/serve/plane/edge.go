package plane

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge/keys"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// What the edge needs to know of paths: who may ask for which, and what is on which port. And what
// it adds to metrics and to the document.

// accessOf says who may ask for a path. What is not listed is for whoever may predict.
func (p *Plane) accessOf(path string) edge.Access {
	method, isCall := strings.CutPrefix(path, grpcService)
	switch {
	case path == "/healthz" || path == "/readyz" || path == p.Ready || strings.HasPrefix(path, "/v2/health/"),
		strings.HasPrefix(path, "/v2/models/") && strings.HasSuffix(path, "/ready"),
		isCall && (method == "ServerLive" || method == "ServerReady" || method == "ModelReady"):
		return edge.Access{Health: true}
	case path == "/docs" || path == "/redoc" || path == "/openapi.json":
		return edge.Access{Docs: true}
	case path == "/metrics":
		return edge.Access{Scope: keys.Metrics}
	case path == "/explain":
		return edge.Access{Scope: keys.Explain}
	case path == "/events":
		return edge.Access{Scope: keys.Events}
	}
	return edge.Access{Scope: keys.Predict}
}

// kindOf is what the setting "public" of the port for management calls a path, or "" if the path is for
// clients alone.
func (p *Plane) kindOf(path string) string {
	switch {
	case path == "/metrics":
		return "metrics"
	case path == "/healthz" || path == "/readyz" || path == p.Ready:
		return "health"
	case p.accessOf(path).Docs:
		return "docs"
	}
	return ""
}

// onPort reports whether paths of a kind are on a port.
func (c *process) onPort(kind string, managed bool) bool {
	switch {
	case managed:
		return kind != ""
	case c.aside == nil || kind == "":
		return true
	}
	return slices.Contains(c.aside.Public, kind)
}

// protocolOf is how a client expects to learn what is wrong, before anything of its request was read.
func protocolOf(r *http.Request) protocol {
	switch {
	case strings.HasPrefix(r.URL.Path, grpcService) && r.ProtoMajor >= 2:
		return grpcErrors
	case strings.HasPrefix(r.URL.Path, "/v2"):
		return openErrors
	}
	return jsonErrors
}

// scheme is that of the URLs on a port.
func (c *process) scheme(managed bool) string {
	if !managed && c.edge.TLS() != nil {
		return "https://"
	}
	return "http://"
}

// edgeText writes the metrics of the edge.
func (c *process) edgeText(w *metricText) {
	all := c.edge.Figures()
	for len(all) > 0 {
		first := all[0]
		n := 1
		for n < len(all) && all[n].Name == first.Name {
			n++
		}
		var samples []sample
		for _, f := range all[:n] {
			samples = append(samples, sample{map[bool]string{false: "_total"}[f.Gauge], f.Labels, f.Value})
		}
		if first.Gauge {
			w.metric(first.Name, "gauge", first.Help, samples...)
		} else {
			w.counter(first.Name, first.Help, samples, nil)
		}
		all = all[n:]
	}
}

// secured adds to the paths of the document how callers show who they are, and to what they may
// be refused. Paths of the port for management are left out.
func (p *Plane) secured(paths object) object {
	text := object{{"application/json", object{{"schema", object{{"type", "object"}, {"properties", object{{"detail", object{{"type", "string"}}}}}}}}}}
	var out object
	for _, path := range paths {
		if !p.onPort(p.kindOf(path.name), false) {
			continue
		}
		access := p.accessOf(path.name)
		operations, _ := path.value.(object)
		operations = slices.Clone(operations)
		for i, op := range operations {
			o, _ := op.value.(object)
			o = slices.Clone(o)
			var more object
			if p.edge.Asks(access) {
				o = append(o, field{"security", p.requirements()})
				more = append(more, field{"401", object{{"description", "The caller is not known"}, {"content", text}}},
					field{"403", object{{"description", "The caller may not ask this"}, {"content", text}}})
			}
			if p.edge.Limited() && access.Scope != 0 {
				more = append(more, field{"429", object{{"description", "The caller asks too much, or the service has too much to do"}, {"content", text}}})
			}
			for j, f := range o {
				if responses, ok := f.value.(object); ok && f.name == "responses" && len(more) > 0 {
					o[j].value = append(slices.Clone(responses), more...)
				}
			}
			operations[i].value = o
		}
		out = append(out, field{path.name, operations})
	}
	return out
}

// requirements are the alternatives of a caller.
func (p *Plane) requirements() []any {
	var all []any
	schemes := p.edge.Schemes()
	certificate := slices.Contains(schemes, "certificate")
	for _, s := range schemes {
		if s == "certificate" {
			continue
		}
		one := object{{s, []string{}}}
		if certificate {
			one = append(one, field{"certificate", []string{}})
		}
		all = append(all, one)
	}
	if certificate {
		all = append(all, object{{"certificate", []string{}}})
	}
	return all
}

// securitySchemes describes them.
func (p *Plane) securitySchemes() object {
	known := map[string]object{
		"key":         {{"type", "apiKey"}, {"in", "header"}, {"name", "X-API-Key"}, {"description", "a key that tenon key new has made"}},
		"bearer":      {{"type", "http"}, {"scheme", "bearer"}, {"description", "a token, or a key"}},
		"certificate": {{"type", "mutualTLS"}, {"description", "a certificate of an authority that the service knows"}},
	}
	var out object
	for _, s := range p.edge.Schemes() {
		out = append(out, field{s, known[s]})
	}
	return out
}

// openEdge opens the edge of the process. The port for management, if there is one, does not listen
// yet.
func (c *process) openEdge(ctx context.Context, s *step.Step, given params) (err error) {
	o := edge.Options{Kept: s.Kept, Instance: s.Instance, Env: given.Env, Log: logLine}
	if s.Shipped != "" && given.Audit != nil {
		o.Shipped = s.ShippedOf(filepath.Base(requests.Audit(s.Kept)))
	}
	c.edge, err = edge.Open(ctx, given.Declared, o)
	if err != nil {
		return err
	}
	if c.aside = given.Management; c.aside == nil {
		return nil
	}
	at := s.Endpoint.Management
	if at == nil {
		return errors.New("the endpoint of the step has no port for management")
	}
	c.management, err = bind(at.Host, at.Port)
	return err
}
