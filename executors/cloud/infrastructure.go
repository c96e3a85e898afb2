package cloud

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// Documents returns a page for whoever applies files, and all files that have something, sorted by
// name.
func Documents(all map[string]*terraform.File, readme []byte) []terraform.Document {
	docs := []terraform.Document{{Name: "README.md", Content: readme}}
	for name, f := range all {
		if !f.Empty() {
			docs = append(docs, terraform.Document{Name: name})
		}
	}
	var formatting sync.WaitGroup // which takes most of the time
	for i := range docs {
		if f := all[docs[i].Name]; f != nil {
			formatting.Go(func() { docs[i].Content = f.Bytes() })
		}
	}
	formatting.Wait()
	slices.SortFunc(docs, func(a, b terraform.Document) int { return cmp.Compare(a.Name, b.Name) })
	return docs
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

// Known refuses keys of a variable that are not units.
func Known(b *terraform.Body, variable string, units []string) {
	v := b.Block("validation")
	v.Set("condition", terraform.Call("length", terraform.Call("setsubtract", terraform.Code("keys(var."+variable+")"), terraform.Texts(units...))).Equals(terraform.Int(0)))
	v.Set("error_message", terraform.Text("A key is the name of a unit that has one, such as \""+units[0]+"\"."))
}

// Validation adds a rule to a variable.
func Validation(b *terraform.Body, condition, message string) {
	v := b.Block("validation")
	v.Set("condition", terraform.Code(condition))
	v.Set("error_message", terraform.Text(message))
}
