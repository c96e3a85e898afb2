package compiler

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/internal/diag"
)

// checkReplicas refuses replicas that cannot follow their load anywhere. What a target cannot do,
// its executor refuses.
func (c *checker) checkReplicas(e *entity, f *endpointFields) {
	o, ok := e.fields.at(f.Replicas).(object)
	if !ok {
		return
	}
	if whole(o.get("max")) < whole(o.get("min")) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the replicas of %s: max is below min", e),
			Wanted:  fmt.Sprintf("at least %d", whole(o.get("min"))), Found: fmt.Sprintf("max: %d", whole(o.get("max"))),
			Spans: []diag.Span{c.sys.Label("", e.path(f.Replicas)...)},
		})
	}
	if s := scaleOf(o); o.has("idle") && s.Idle == 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the replicas of %s: idle is 0, so their number would change with every request", e),
			Hint:    `write a time such as idle: "1m"`,
			Spans:   []diag.Span{c.sys.At("", e.path(f.Replicas, "idle")...)},
		})
	}
	k := e.component.Edge
	if k == nil || scaleOf(o).InFlight == 0 || present(e.fields, k.Management) {
		return
	}
	auth, _ := e.fields.at(k.Auth).(object)
	field, needs := k.Auth, "metrics need a key"
	switch {
	case present(e.fields, k.clientCA()):
		field, needs = k.clientCA(), "metrics need a certificate"
	case k.Auth == "" || !present(e.fields, k.Auth) || slices.Contains(stringsOf(auth.get("public")), "metrics"):
		return
	}
	c.fail(e, diag.Diagnostic{
		Message: fmt.Sprintf("the replicas of %s follow requests in flight, which %s keeps from being counted", e, field),
		Hint:    fmt.Sprintf("add %s: port: 9090, a port for metrics that asks nobody who they are", k.Management),
		Spans:   []diag.Span{c.sys.Label("", e.path(f.Replicas)...), c.sys.Label(needs, e.pathOf(field)...)},
	})
}
