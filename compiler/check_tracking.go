package compiler

import (
	"cmp"
	"fmt"
	"slices"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// tracking reads where runs are tracked, or returns nil. Fields that are unknown are refused here: CUE accepts them, because a
// system is open.
func (c *checker) tracking() *ir.Tracking {
	if !c.sys.Lookup("tracking").Exists() {
		return nil
	}
	c.onlyFields([]string{"mlflow"}, "tracking")
	c.onlyFields([]string{"uri", "experiment", "token", "plain_http"}, "tracking", "mlflow")
	text := func(at ...string) string {
		s, _ := c.sys.Lookup(append([]string{"tracking", "mlflow"}, at...)...).String()
		return s // Faults reports a value that is not a string
	}
	t := &ir.Tracking{URI: text("uri"), Experiment: cmp.Or(text("experiment"), c.name)}
	t.PlainHTTP, _ = c.sys.Lookup("tracking", "mlflow", "plain_http").Bool()
	if t.URI == "" || !c.sys.Lookup("tracking", "mlflow", "token").Exists() {
		return t
	}
	t.Token = &ir.Secret{Env: text("token", "secret", "env"), File: text("token", "secret", "file")}
	at := c.sys.Label("", "tracking", "mlflow", "token")
	switch {
	case c.sys.Lookup("tracking", "mlflow", "token", "secret", "kubernetes").Exists():
		c.fault(diag.Diagnostic{
			Message: "the token of tracking is a secret of a cluster, which tenon does not read", Spans: []diag.Span{at},
			Hint: "put it into the environment of tenon: `token: secret: env: \"MLFLOW_TOKEN\"`",
		})
	case (t.Token.Env == "") == (t.Token.File == ""):
		c.fault(diag.Diagnostic{
			Message: "the token of tracking needs exactly one source", Wanted: "one of env, file", Spans: []diag.Span{at},
			Hint: "write `token: secret: env: \"MLFLOW_TOKEN\"` or `token: secret: file: \"/run/secrets/mlflow\"`",
		})
	}
	return t
}

// onlyFields refuses other fields of a struct of the system than the known ones.
func (c *checker) onlyFields(known []string, path ...string) {
	fields, err := c.sys.Lookup(path...).Fields(cue.Optional(false))
	if err != nil {
		return // reported by Faults
	}
	for fields.Next() {
		name := fields.Selector().Unquoted()
		if slices.Contains(known, name) {
			continue
		}
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("unknown field %q in %s", name, path[len(path)-1]), Spans: []diag.Span{c.sys.Label("", append(path[:len(path):len(path)], name)...)},
			Hint: diag.DidYouMean(name, known),
		})
	}
}
