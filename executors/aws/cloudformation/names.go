package cloudformation

import (
	"strings"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// plain is a name whose form in [Camel] no other name has.
var plain = lazyregexp.New(`^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$`)

// Camel returns a name as a part of a logical id, which has letters and digits only: "features-late" becomes
// "FeaturesLate". A name that could be mistaken for another one ends with
// a part of its digest.
func Camel(name string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	if !plain.Match([]byte(name)) {
		return b.String() + cloud.Short(name)
	}
	return b.String()
}

// words returns a name of ours, such as "job_queues", as a part of a logical id.
func words(name string) string { return Camel(strings.ReplaceAll(name, "_", "-")) }
