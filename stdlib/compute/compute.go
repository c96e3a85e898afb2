// Package compute lists the components whose Go code adds parameters when a system
// is compiled, such as the rule file that follows from objectives.
//
// The input is an [entity.Entity], the result are parameters. Nothing is read or run.
package compute

import (
	"github.com/tenon-ml/tenon/stdlib/compute/entity"
	"github.com/tenon-ml/tenon/stdlib/serve/http"
	"github.com/tenon-ml/tenon/stdlib/slo/rules"
)

// Params are the functions by component.
var Params = map[string]func(entity.Entity) (map[string]any, error){
	"serve.http": http.Params,
	"slo.rules":  rules.Params,
}
