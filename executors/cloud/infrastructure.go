package cloud

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// TerraformVersion is the first that has what the files of all clouds use, and the oldest that is maintained.
const TerraformVersion = ">= 1.9.0"

// Placed returns the units of a system that something in the cloud runs, sorted by id.
func Placed(sys *ir.System, runs func(*ir.Unit) bool) (units []*ir.Unit) {
	for i := range sys.Units {
		if u := &sys.Units[i]; runs(u) {
			units = append(units, u)
		}
	}
	slices.SortFunc(units, func(a, b *ir.Unit) int { return cmp.Compare(a.ID, b.ID) })
	return units
}

// At returns the units that a place runs.
func At[P comparable](units []*ir.Unit, place func(*ir.Unit) P, p P) (at []*ir.Unit) {
	for _, u := range units {
		if place(u) == p {
			at = append(at, u)
		}
	}
	return at
}

// Each returns an object with a value for each unit.
func Each(units []*ir.Unit, value func(*ir.Unit) terraform.Expr) terraform.Expr {
	fields := make([]terraform.Field, len(units))
	for i, u := range units {
		fields[i] = terraform.Field{Key: u.ID, Value: value(u)}
	}
	return terraform.Object(fields...)
}

// Texts returns an object of texts, sorted by key.
func Texts(m map[string]string) terraform.Expr {
	var fields []terraform.Field
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fields = append(fields, terraform.Field{Key: k, Value: terraform.Text(m[k])})
	}
	return terraform.Object(fields...)
}

// Images adds the variable with the images of units, if there are any.
func Images(f *terraform.File, description string, units []*ir.Unit) {
	if len(units) == 0 {
		return
	}
	ids := make([]string, len(units))
	for i, u := range units {
		ids[i] = u.ID
	}
	b := f.Variable("images", description, "map(string)", terraform.Object())
	v := b.Block("validation")
	v.Set("condition", terraform.Code(`alltrue([for image in values(var.images) : can(regex("@sha256:[0-9a-f]{64}$", image))])`))
	v.Set("error_message", terraform.Text("An image has the form REPOSITORY@sha256:DIGEST."))
	v = b.Block("validation")
	v.Set("condition", terraform.Call("length", terraform.Call("setsubtract", terraform.Code("keys(var.images)"), terraform.Texts(ids...))).Equals(terraform.Int(0)))
	v.Set("error_message", terraform.Text("A key is the name of a unit that has one, such as \""+ids[0]+"\"."))
}

// Unambiguous makes sure that no two units, also records, have the same label, so that no
// unit gets the rights of another.
func Unambiguous(sys *ir.System, where string) error {
	of := map[string]string{}
	for _, u := range sys.Units {
		l := strings.ToLower(Label(u.ID)) // some names ignore case
		if other, ok := of[l]; ok {
			return fmt.Errorf("%s and %s have the same name in %s, %s: rename one of them", other, u.ID, where, l)
		}
		of[l] = u.ID
	}
	return nil
}

// EndpointsExist returns an error if the target places a deployment that the system does not have: its
// name may be mistyped, and the service would be placed elsewhere.
func EndpointsExist[E any](sys *ir.System, endpoints map[string]E) error {
	var all []string
	for i := range sys.Units {
		if u := &sys.Units[i]; u.Kind == ir.Service {
			all = append(all, EntityName(u))
		}
	}
	slices.Sort(all)
	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		if !slices.Contains(all, name) {
			return fmt.Errorf("endpoints of target %s names %s, but the services of this system are: %s", sys.Target.Name, name, strings.Join(slices.Compact(all), ", "))
		}
	}
	return nil
}

// Prefix returns what the names of a system's resources begin with, unless its target says so.
func Prefix(sys *ir.System, said string) string {
	name := "tenon-" + sys.Name
	if sys.Env != "" {
		name += "-" + sys.Env
	}
	return cmp.Or(said, name)
}

// Root returns the folder of a system in a bucket.
func Root(sys *ir.System, folder string) string {
	return folder + "/" + sys.Name + "/" + cmp.Or(sys.Env, "_")
}

// Environment returns the name of a system's environment, which no other one has.
func Environment(sys *ir.System) string {
	if sys.Env == "" {
		return sys.Name
	}
	return sys.Name + "/" + sys.Env
}

// EntityName returns the name of a unit's entity, without its section.
func EntityName(u *ir.Unit) string {
	_, name, _ := strings.Cut(u.Entity, "/")
	return name
}

// Reference returns an attribute of a resource.
func Reference(kind, name, attribute string) terraform.Expr {
	return terraform.Code(kind + "." + name + "." + attribute)
}

// Key returns the element of a variable for a unit.
func Key(variable string, u *ir.Unit) terraform.Expr {
	return terraform.Code(fmt.Sprintf("var.%s[%q]", variable, u.ID))
}

// Once makes a resource exist only if the variable has an element for the unit.
func Once(b *terraform.Body, variable string, u *ir.Unit) {
	b.Set("count", terraform.Code(fmt.Sprintf("contains(keys(var.%s), %q) ? 1 : 0", variable, u.ID)))
}
