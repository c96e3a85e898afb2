package compiler

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// receivers resolves who gets notices of a loop or of a monitor.
func (c *checker) receivers(e *entity) (all []ir.Receiver) {
	list, _ := e.fields.get("notify").([]any)
	for i, v := range list {
		o, _ := v.(object)
		n := strconv.Itoa(i)
		label := func(field ...string) diag.Span {
			return c.sys.Label("", e.path(append([]string{"notify", n}, field...)...)...)
		}
		refuse := func(message, hint string, spans ...diag.Span) {
			c.fail(e, diag.Diagnostic{Message: message, Hint: hint, Spans: spans})
		}
		r := ir.Receiver{Alertmanager: stringOf(o.at("alertmanager.url"))}
		r.PlainHTTP, _ = o.get("plain_http").(bool)
		switch ref, ok := o.get("webhook").(object); {
		case ok && o.has("alertmanager"):
			refuse(fmt.Sprintf("an entry of notify of %s has both webhook and alertmanager", e), "write two entries: each of them is a receiver", label("webhook"), label("alertmanager"))
			continue
		case ok:
			hook := secret("", ref)
			r.Webhook = &hook
			if hook.Kubernetes != nil {
				refuse(fmt.Sprintf("the webhook of %s is a secret of a cluster, which the controller does not read", e),
					"put it into the environment of tenon run: `webhook: secret: env: \"HOOK\"`", label("webhook", "secret", "kubernetes"))
			}
			if hook.As != "" {
				refuse(fmt.Sprintf("the webhook of %s says how a program gets the secret, but no program does", e), "remove it", label("webhook", "secret", "as"))
			}
		case r.Alertmanager == "":
			refuse(fmt.Sprintf("an entry of notify of %s names no receiver", e), "write {webhook: secret: env: \"HOOK\"} or {alertmanager: url: \"http://alertmanager:9093\"}", label())
		case r.PlainHTTP:
			refuse(fmt.Sprintf("plain_http of %s is for webhooks: the URL of an Alertmanager says itself whether it needs TLS", e), "remove it", label("plain_http"))
		}
		if slices.ContainsFunc(all, func(other ir.Receiver) bool { return other.String() == r.String() }) {
			refuse(fmt.Sprintf("notify of %s names a receiver twice", e), "remove one of the entries", label())
		}
		all = append(all, r)
	}
	return all
}
