package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

var (
	secretName = lazyregexp.New(`(?i)(^|[_-])(password|passwd|pwd|secret|((access|auth|api|bearer|refresh)_?)token|api_?key|access_?key|private_?key|credentials?)$`)
	// secretObjects lists the fields that name a Secret of a cluster.
	secretObjects = []string{"store_secret", "state_secret"}
	secretURL     = lazyregexp.New(`^[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@`)
)

// checkSecrets refuses what looks like a literal secret.
func (c *checker) checkSecrets(e *entity) {
	var visit func(v any, at []string)
	visit = func(v any, at []string) {
		switch v := v.(type) {
		case object:
			for _, f := range v {
				visit(f.value, append(at[:len(at):len(at)], f.name))
			}
		case []any:
			for _, x := range v {
				visit(x, at)
			}
		case string:
			name := at[len(at)-1]
			if (secretName.MatchString(name) && !slices.Contains(secretObjects, name) && v != "") || secretURL.MatchString(v) {
				c.fail(e, diag.Diagnostic{
					Message: fmt.Sprintf("%s looks like a secret in plain text", strings.Join(at, ".")),
					Wanted:  "a reference",
					Found:   "a literal",
					Spans:   []diag.Span{c.sys.At("", at...)},
					Hint:    c.secretHint(e, name),
				})
			}
		}
	}
	for _, f := range e.fields {
		switch f.name {
		case "schema", "secrets", "dsn", "out", "name", "component": // these are names, or are checked below
			continue
		}
		visit(f.value, e.path(f.name))
	}
	for at, v := range c.secretRefs(e) {
		if len(v.only("env", "file", "kubernetes")) != 1 {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("the secret %s of %s needs exactly one source", at, e),
				Wanted:  "one of env, file, kubernetes",
				Spans:   []diag.Span{c.sys.At("", e.path(strings.Split(at, ".")...)...)},
				Hint:    "write `secret: env: \"NAME\"` or `secret: file: \"/run/secrets/NAME\"`",
			})
		}
	}
}

func (c *checker) secretHint(e *entity, name string) string {
	if e.section == "steps" {
		return fmt.Sprintf("write `secrets: %s: secret: env: \"%s\"` and read it from the environment", strings.ToUpper(name), strings.ToUpper(name))
	}
	return "use a reference: `secret: env: \"NAME\"`"
}

// secretRefs returns the secret references of an entity, by the path of the field.
func (c *checker) secretRefs(e *entity) map[string]object {
	refs := map[string]object{}
	add := func(at string, v any) {
		o, _ := v.(object)
		if s, ok := o.get("secret").(object); ok {
			refs[at] = s
		} else if o.has("secret") {
			refs[at] = nil
		}
	}
	add("dsn", e.fields.get("dsn"))
	secrets, _ := e.fields.get("secrets").(object)
	for _, f := range secrets {
		add("secrets."+f.name, f.value)
	}
	receivers, _ := e.fields.get("notify").([]any)
	for i, r := range receivers {
		o, _ := r.(object)
		add(fmt.Sprintf("notify.%d.webhook", i), o.get("webhook"))
	}
	for i := range e.component.stages {
		for _, path := range e.component.stages[i].Secrets.byName {
			if ref, ok := e.fields.at(path).(object); ok {
				add(path, ref)
			}
		}
		for _, s := range numberedSecrets(e.fields, e.component.stages[i].Secrets) {
			add(s.path, s.ref)
		}
	}
	return refs
}
